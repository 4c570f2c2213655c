//! Client of enrol, ask, renew.
