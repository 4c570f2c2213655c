//! keylend-sidecar

pub mod http1;
