//! The local key provider.
