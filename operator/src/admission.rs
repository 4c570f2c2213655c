//! The webhook story.

pub mod inject;
