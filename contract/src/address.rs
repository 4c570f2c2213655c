//! Which resolved addresses may be dialled.
//!
//! Public addresses may be; private, loopback, link-local, metadata and translated ones only where the owner listed the
//! network. One bad address in an answer refuses the whole answer: a name that resolves both ways is being moved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The most networks one policy may list.
pub const MAX_NETWORKS: usize = 32;

/// The address ranges, beside the public ones, that an owner allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(Vec<IpNet>);

/// Why a list is not [`Networks`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    /// More than [`MAX_NETWORKS`].
    #[error("at most {MAX_NETWORKS} networks are possible")]
    TooMany,
    /// Not an address and a prefix length.
    #[error("'{}' is not a network such as 10.20.0.0/16", .0.escape_debug())]
    Malformed(String),
    /// Bits beyond the prefix are set, so the writer may have meant something else.
    #[error("write this network as {0}")]
    HostBits(IpNet),
}

/// Addresses that were all checked; only [`Networks::permit`] makes one, and it is never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApprovedAddresses(Vec<IpAddr>);

impl ApprovedAddresses {
    /// The addresses in the order of the answer.
    #[must_use]
    pub fn as_slice(&self) -> &[IpAddr] {
        &self.0
    }
}

impl Networks {
    /// Parses every network of `texts`.
    ///
    /// # Errors
    /// [`NetworksError`] for the first text that is not a network.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, NetworksError> {
        if texts.len() > MAX_NETWORKS {
            return Err(NetworksError::TooMany);
        }
        let parse = |text: &str| {
            let network: IpNet = text.parse().map_err(|_| NetworksError::Malformed(text.to_owned()))?;
            if network.trunc() == network {
                Ok(network)
            } else {
                Err(NetworksError::HostBits(network.trunc()))
            }
        };
        Ok(Self(texts.iter().map(|text| parse(text.as_ref())).collect::<Result<_, _>>()?))
    }

    /// Decides whether a name that resolved to `answers` may be dialled.
    ///
    /// # Errors
    /// [`Refusal::AddressNotApproved`] if there is no address, or if any of them is neither public nor listed.
    pub fn permit(&self, host: &str, answers: &[IpAddr]) -> Result<ApprovedAddresses, Refusal> {
        let approved = |address: &IpAddr| {
            let plain = unwrapped(*address);
            is_public(plain) || self.0.iter().any(|network| network.contains(&plain))
        };
        if answers.is_empty() || !answers.iter().all(approved) {
            return Err(Refusal::AddressNotApproved { host: host.to_owned() });
        }
        Ok(ApprovedAddresses(answers.to_vec()))
    }
}

/// The IPv4 address inside an IPv4-mapped one (RFC 4291, 2.5.5.2), which the kernel dials as such.
fn unwrapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Globally reachable by the IANA special-purpose registry (RFC 6890 and its updates).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 175, 48)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Global unicast (RFC 4291, 2.4) without the ranges that translate, tunnel or only document: Teredo, ORCHID,
/// `2001:db8::/32`, 6to4, `3fff::/20`. NAT64 (`64:ff9b::/96`) lies outside of `2000::/3` already.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let global_unicast = first & 0xe000 == 0x2000;
    let protocol_assignments = first == 0x2001 && second < 0x0200;
    let documentation = (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second < 0x1000);
    let six_to_four = first == 0x2002;
    global_unicast && !protocol_assignments && !documentation && !six_to_four
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Networks {
        Networks::parse::<&str>(&[]).unwrap()
    }

    #[test]
    fn without_networks_only_public_addresses_are_dialled() {
        let table = [
            ("8.8.8.8", true),
            ("1.1.1.1", true),
            ("172.32.0.1", true),
            ("100.128.0.1", true),
            ("2606:4700::1111", true),
            ("::ffff:8.8.8.8", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.168.1.1", false),
            ("192.0.0.1", false),
            ("192.0.2.1", false),
            ("198.18.0.1", false),
            ("203.0.113.9", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("::10.0.0.1", false),
            ("64:ff9b::808:808", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("fd00:ec2::254", false),
        ];
        for (address, permitted) in table {
            let answer = none().permit("api.example.com", &[address.parse().unwrap()]);
            assert_eq!(answer.is_ok(), permitted, "{address}");
        }
    }

    #[test]
    fn a_listed_network_is_dialled_and_nothing_beside_it() {
        let networks = Networks::parse(&["10.20.0.0/16", "fd00:1::/32"]).unwrap();
        for (address, permitted) in
            [("10.20.3.4", true), ("10.21.0.1", false), ("::ffff:10.20.3.4", true), ("fd00:1::5", true)]
        {
            assert_eq!(
                networks.permit("a.example.com", &[address.parse().unwrap()]).is_ok(),
                permitted,
                "{address}"
            );
        }
    }

    #[test]
    fn one_bad_address_refuses_all_and_none_is_not_enough() {
        let good: IpAddr = "8.8.8.8".parse().unwrap();
        let bad: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(none().permit("a.example.com", &[good, bad]).is_err());
        assert!(none().permit("a.example.com", &[]).is_err());
        assert!(none().permit("a.example.com", &[good]).is_ok());
    }

    #[test]
    fn networks_are_written_exactly() {
        assert_eq!(
            Networks::parse(&["10.0.0.1/8"]),
            Err(NetworksError::HostBits("10.0.0.0/8".parse().unwrap()))
        );
        assert!(matches!(Networks::parse(&["10.0.0.1"]), Err(NetworksError::Malformed(_))));
        assert_eq!(Networks::parse(&vec!["10.0.0.0/8"; MAX_NETWORKS + 1]), Err(NetworksError::TooMany));
    }
}
