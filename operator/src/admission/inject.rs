//! The injected container, as a pure function.
