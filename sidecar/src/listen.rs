//! The local listener.
