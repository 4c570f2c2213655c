//! Starts the controllers.

pub mod apply;
pub mod route;
pub mod secret;
pub mod secret_share;
pub mod watch;
