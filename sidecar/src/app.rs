//! Builds and runs the sidecar.
