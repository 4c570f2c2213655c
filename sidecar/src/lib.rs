//! The Keylend sidecar: carries a pod's calls upstream and adds the lent credential.

pub mod app;
pub mod call;
pub mod config;
pub mod fault;
pub mod http1;
pub mod identity;
pub mod lease;
pub mod listen;
pub mod operator;
pub mod probe;
pub mod respond;
pub mod upstream;
