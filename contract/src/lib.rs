//! What the operator and the sidecar must agree on, and nothing else.
//!
//! Text becomes a type here, once; whoever holds the type need not check again. No IO, no async, no clock and no
//! Kubernetes may ever be added: both the side that decides and the side that sends depend on this crate, and a rule
//! that two processes must read alike has to be a pure function.
//!
//! | module | what it holds |
//! |---|---|
//! | [`host`] | a DNS name in its one spelling |
//! | [`domain_lock`] | the hosts a credential may go to; the only maker of [`domain_lock::ApprovedHost`] |
//! | [`address`] | which resolved addresses may be dialled |
//! | [`upstream`] | `https://host[:port]`, an origin |
//! | [`name`], [`environment`], [`template`] | what a route may say |
//! | [`place`] | where in a request a value may stand |
//! | [`plaintext`], [`material`] | a value, and what it is for |
//! | [`blob`], [`sealing_key`] | a value sealed on a client, and the key it is sealed to |
//! | [`hexadecimal`] | how digests and identifiers are written |
//! | [`refusal`] | every way to say no |
//! | [`injected`] | what an injected pod holds |
//! | [`wire`] | the messages between sidecar and operator |
//! | [`veil`] | what covers their answers within TLS, and its key |

pub mod address;
pub mod blob;
pub mod domain_lock;
pub mod environment;
pub mod hexadecimal;
pub mod host;
pub mod injected;
pub mod material;
pub mod name;
pub mod place;
pub mod plaintext;
pub mod refusal;
pub mod sealing_key;
pub mod template;
pub mod upstream;
pub mod veil;
pub mod wire;
