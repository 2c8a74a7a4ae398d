//! What people and metrics are told of the services.
