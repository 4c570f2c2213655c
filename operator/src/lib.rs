//! The Keylend operator: keeps values sealed, decides who may use them, and says stop.

pub mod admission;
pub mod app;
pub mod audit;
pub mod authority;
pub mod config;
pub mod controllers;
pub mod enrol;
pub mod fault;
pub mod freshness;
pub mod intake;
pub mod keys;
pub mod lift;
pub mod metrics;
pub mod places;
pub mod policies;
pub mod resolve;
pub mod revocation;
pub mod sealing;
pub mod storage;
pub mod world;
