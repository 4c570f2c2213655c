//! How a value comes in.
