//! The Keylend sidecar: carries a pod's calls upstream and adds the lent credential.
//!
//! It decides nothing: the operator is asked before each call, and what it answers is permitted here once more before
//! anything is dialled. It keeps nothing: a value lives in the buffers of one call and is wiped after it. It trusts
//! neither side: the app's bytes and the upstream's are read by one strict codec and written anew. Never add a way around
//! the ask, a value that outlives its call, or a dependency on Kubernetes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`call`] | the story of one call: begin reading here |
//! | [`http1`] | the codec, strict and without IO |
//! | [`listen`] | the app's side: loopback, one task a connection |
//! | [`operator`] | who is asked before a call, and while it is open |
//! | [`lease`] | what an open call holds, and how it loses it |
//! | [`upstream`] | the upstream's side: permitted, resolved, checked, proved |
//! | [`identity`] | which container we are |
//! | [`respond`], [`fault`] | every way a call fails, and what the app is told |
//! | [`app`], [`config`], [`probe`] | the process: how it starts, ends and says that it is well |

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
