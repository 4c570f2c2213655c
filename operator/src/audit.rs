//! One row a use; durable before the use.
