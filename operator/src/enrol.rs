//! Token and key become a certificate, once per container start.
