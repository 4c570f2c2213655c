//! keylend-sidecar
