//! Where envelopes rest.

pub mod envelope;
