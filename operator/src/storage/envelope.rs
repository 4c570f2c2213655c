//! Bytes to envelope and back.
