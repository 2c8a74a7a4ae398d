//! Folds changes into snapshots: the one writer of the model.
