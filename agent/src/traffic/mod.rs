//! Pure decisions on a request: no runtime, no clock, no kernel. A feature is one file.
