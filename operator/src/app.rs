//! Builds and runs the operator.
