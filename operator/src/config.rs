//! The only reader of the environment and arguments.
