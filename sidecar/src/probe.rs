//! The probes, by exec of the binary itself.
