//! The sidecar's side of enrolment, asks and renewals, against an operator that answers by script.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the tests share lies outside of their functions"
)]

mod app;
mod asks;
mod enrolment;
mod renewals;
mod scripted_operator;
mod sidecar;
