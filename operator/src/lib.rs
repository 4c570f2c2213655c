//! keylend-operator
