//! keylend-crds
