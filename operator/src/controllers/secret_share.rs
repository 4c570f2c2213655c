//! secret_share
