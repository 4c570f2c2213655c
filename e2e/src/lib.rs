//! keylend-e2e
