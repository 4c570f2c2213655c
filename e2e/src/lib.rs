//! Drives the built images on a real cluster; `tests/` has one file a promise.
//!
//! A test runs inside the cluster's network namespace (`keylend-cluster run -- cargo test -p keylend-e2e`), speaks to
//! the API server by `kubectl` as its users do, and to the test's own app and upstream by their control listeners. Each
//! test has namespaces of its own, made of `deploy/examples` by renaming.

pub mod app;
pub mod blob;
pub mod capture;
pub mod condition;
pub mod container;
pub mod cut;
pub mod kubectl;
pub mod load;
pub mod needle;
pub mod node;
pub mod operator;
pub mod pod;
pub mod stage;
pub mod strace;
pub mod undo;
pub mod upstream;
pub mod wait;

pub use app::{App, Call, Event, Summary};
pub use capture::Capture;
pub use container::Container;
pub use cut::Cut;
pub use kubectl::{Kubectl, Outcome, Pod};
pub use load::Load;
pub use needle::Needle;
pub use stage::{Stage, replaced};
pub use strace::Strace;
pub use undo::Undo;
pub use upstream::Upstream;
pub use wait::{eventually, within};
