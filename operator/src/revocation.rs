//! When a stop is complete.
