//! Where a route sends its calls: an https origin and nothing more.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    host::{Host, HostError},
    refusal::Refusal,
};

/// The port of https where none is written (RFC 9110, 4.2.2).
pub const HTTPS_PORT: u16 = 443;

/// The most ports one policy may list.
pub const MAX_PORTS: usize = 16;

/// An https origin (RFC 6454): host and port. No path, no query, no user information.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream {
    host: Host,
    port: u16,
}

/// Why a text is not an [`Upstream`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Another scheme than https, or none.
    #[error("an upstream starts with https://")]
    Scheme,
    /// More than an origin.
    #[error("an upstream is an origin such as https://api.example.com, without path, query or user")]
    NotAnOrigin,
    /// The host in it is not one.
    #[error("{0}")]
    Host(#[from] HostError),
    /// A port that is no number from 1 to 65535, has leading zeros, or repeats the default.
    #[error("a port is a number from 1 to 65535 without leading zeros, and 443 is left out")]
    Port,
}

/// The ports an owner approved; never empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<u16>", into = "Vec<u16>")]
pub struct Ports(Vec<u16>);

/// Why a list is not [`Ports`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// None, or more than [`MAX_PORTS`], or port 0.
    #[error("1 to {MAX_PORTS} ports from 1 to 65535 are possible")]
    OutOfBounds,
}

impl Upstream {
    /// The host that is resolved, dialled, verified and named in the request.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port that is dialled.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the Host field (RFC 9110, 7.2): the port only where it is not 443.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == HTTPS_PORT { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let authority = text.strip_prefix("https://").ok_or(UpstreamError::Scheme)?;
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return Err(UpstreamError::NotAnOrigin);
        }
        if authority.starts_with('[') {
            return Err(HostError::Address.into());
        }
        let Some((host, port)) = authority.split_once(':') else {
            return Ok(Self { host: authority.parse()?, port: HTTPS_PORT });
        };
        let number: u16 = port.parse().map_err(|_| UpstreamError::Port)?;
        if number == 0 || number == HTTPS_PORT || number.to_string() != port {
            return Err(UpstreamError::Port);
        }
        Ok(Self { host: host.parse()?, port: number })
    }
}

impl TryFrom<String> for Upstream {
    type Error = UpstreamError;

    fn try_from(text: String) -> Result<Self, UpstreamError> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> Self {
        upstream.to_string()
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "https://{}", self.authority())
    }
}

impl Ports {
    /// Decides whether the credential may go to `port`.
    ///
    /// # Errors
    /// [`Refusal::PortNotApproved`] when it is not listed.
    pub fn permit(&self, port: u16) -> Result<(), Refusal> {
        if self.0.contains(&port) { Ok(()) } else { Err(Refusal::PortNotApproved { port }) }
    }
}

impl TryFrom<Vec<u16>> for Ports {
    type Error = PortsError;

    fn try_from(ports: Vec<u16>) -> Result<Self, PortsError> {
        let bounded = !ports.is_empty() && ports.len() <= MAX_PORTS && !ports.contains(&0);
        if bounded { Ok(Self(ports)) } else { Err(PortsError::OutOfBounds) }
    }
}

impl From<Ports> for Vec<u16> {
    fn from(ports: Ports) -> Self {
        ports.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_upstream_is_an_https_origin() {
        for (text, authority) in [
            ("https://api.example.com", "api.example.com"),
            ("https://api.example.com:8443", "api.example.com:8443"),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(upstream.authority(), authority);
            assert_eq!(upstream.to_string(), text);
        }
        for text in [
            "http://api.example.com",
            "api.example.com",
            "HTTPS://api.example.com",
            "https://api.example.com/",
            "https://api.example.com?",
            "https://user@api.example.com",
            "https://api.example.com:",
            "https://api.example.com:0",
            "https://api.example.com:443",
            "https://api.example.com:08443",
            "https://api.example.com:+1",
            "https://api.example.com:65536",
            "https://Api.example.com",
            "https://10.0.0.1",
            "https://[::1]",
            "https://api.example.com\\@evil.com",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_listed_ports_are_permitted() {
        let ports = Ports::try_from(vec![443, 8443]).unwrap();
        assert!(ports.permit(443).is_ok());
        assert_eq!(ports.permit(80), Err(Refusal::PortNotApproved { port: 80 }));
        assert!(Ports::try_from(vec![]).is_err());
        assert!(Ports::try_from(vec![0]).is_err());
    }

    proptest! {
        #[test]
        fn an_upstream_has_exactly_one_spelling(text in "https://\\PC{0,30}") {
            if let Ok(upstream) = text.parse::<Upstream>() {
                prop_assert_eq!(upstream.to_string(), text);
            }
        }
    }
}
