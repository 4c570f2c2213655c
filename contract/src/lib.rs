//! keylend-contract
