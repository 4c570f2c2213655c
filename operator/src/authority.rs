//! Our own certificate authority.
