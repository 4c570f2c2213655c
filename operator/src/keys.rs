//! Key providers.

pub mod local;
