//! Reads shares and secrets for a decision.
