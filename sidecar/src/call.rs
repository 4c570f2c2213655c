//! The story of one call, top to bottom.

pub mod hop;
pub mod inject;
pub mod scrub;
pub mod target;
