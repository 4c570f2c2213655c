//! keylend-sidecar

pub mod call;
pub mod http1;
