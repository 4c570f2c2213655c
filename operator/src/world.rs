//! What the watches have seen.
