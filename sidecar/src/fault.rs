//! Something of ours broke.
