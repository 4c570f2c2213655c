//! The story of one resolve, top to bottom.

pub mod caller;
pub mod grant;
pub mod respond;
pub mod server;
