//! Promise 10: who may edit a namespace gets neither into the sidecar, nor a token like its own, nor a pod that passes for
//! an injected one; and where the policies that say so do not stand, nothing is enrolled.

#![expect(clippy::unwrap_used, reason = "a test that misses what it needs cannot go on")]

mod editor;
mod forged;
mod policies;
mod stolen;
mod stranger;
mod tokens;

const VALUE: &str = "kl-test-e8421bd6f7035a9c";
