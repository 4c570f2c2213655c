//! The operator's sealing key pairs.
