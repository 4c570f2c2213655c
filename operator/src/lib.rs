//! keylend-operator

pub mod audit;
