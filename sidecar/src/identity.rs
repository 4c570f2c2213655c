//! The container's key and certificate.
