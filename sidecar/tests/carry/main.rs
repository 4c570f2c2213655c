//! The data plane as it runs, between an app that speaks raw bytes, an operator that answers by script over the real
//! wire, and a TLS origin that records every byte.

#[cfg(test)]
mod app;
#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod destination;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod once;
#[cfg(test)]
mod origin;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod scrubbing;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod strictness;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod whole;

#[path = "../link/scripted_operator.rs"]
#[allow(dead_code, reason = "shared with the tests of the link, which use more of it")]
#[cfg(test)]
mod scripted_operator;
#[path = "../link/sidecar.rs"]
#[allow(dead_code, reason = "shared with the tests of the link, which use more of it")]
#[cfg(test)]
mod sidecar;
#[path = "../http1/requests/tables.rs"]
#[cfg(test)]
mod tables;
