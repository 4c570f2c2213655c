//! Sends to an approved host over verified TLS.
