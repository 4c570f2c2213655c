//! One call, top to bottom.

pub mod hop;
