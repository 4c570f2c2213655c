//! The HTTP/1.1 codec against hostile, odd and arbitrary bytes, whole and in pieces.

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod responses;
