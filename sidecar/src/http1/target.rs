//! The request target and the authority: which form it has, and which characters may stand in it.
//!
//! Promises: a target that is accepted has one reading. Nothing is decoded or normalised here; what was sent is what
//! is forwarded. Only origin-form and absolute-form pass: the other two belong to CONNECT and `OPTIONS *`.
//!
//! Paths take the characters of RFC 3986 and those that common clients send raw beside them (`[ ] { } | ^` and the
//! backtick); queries take every visible ASCII character but `#`. A backslash in a path, which some servers read as a
//! slash, is refused.

use std::net::Ipv6Addr;

/// What is wrong with a target or an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// None of the four forms.
    #[error("the request target has none of the allowed forms (RFC 9112 section 3.2)")]
    Form,
    /// `OPTIONS *` and the like.
    #[error("the request target is in asterisk-form (RFC 9112 section 3.2.4)")]
    Asterisk,
    /// `host:port`, which belongs to CONNECT.
    #[error("the request target is in authority-form (RFC 9112 section 3.2.3)")]
    Authority,
    /// An absolute-form of another scheme than `http`.
    #[error("the request target has a scheme other than http (RFC 9112 section 3.2.2)")]
    Scheme,
    /// `user@host`.
    #[error("the request target or Host holds userinfo (RFC 9110 section 4.2.4)")]
    Userinfo,
    /// `#...`.
    #[error("the request target holds a fragment (RFC 9110 section 7.1)")]
    Fragment,
    /// A byte that no part of a URI may hold.
    #[error("the request target holds a character that must be percent-encoded (RFC 3986 section 2)")]
    Character,
    /// `%` without two hexadecimal digits in the path.
    #[error("the path holds an incomplete percent-encoding (RFC 3986 section 2.1)")]
    Percent,
    /// Not `host` or `host:port`.
    #[error("a host name or port is malformed (RFC 9110 section 7.2)")]
    Host,
}

/// The request target, in the bytes it was sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// What a client sends to an origin.
    Origin {
        /// Starts with a slash.
        path: &'a str,
        /// What follows the first `?`, if there is one.
        query: Option<&'a str>,
    },
    /// What a client sends to a proxy.
    Absolute {
        /// `host` or `host:port`, the same bytes as in Host.
        authority: &'a str,
        /// Starts with a slash; one slash if the target had no path.
        path: &'a str,
        /// What follows the first `?`, if there is one.
        query: Option<&'a str>,
    },
}

impl<'a> Target<'a> {
    /// Reads a target that is visible ASCII.
    pub(super) fn parse(target: &'a str) -> Result<Self, TargetError> {
        if target.contains('#') {
            return Err(TargetError::Fragment);
        }
        if target.starts_with('/') {
            let (path, query) = path_and_query(target)?;
            return Ok(Self::Origin { path, query });
        }
        if target == "*" {
            return Err(TargetError::Asterisk);
        }
        let Some((scheme, rest)) = target.split_once("://") else {
            return Err(if is_authority(target).is_ok() {
                TargetError::Authority
            } else {
                TargetError::Form
            });
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(TargetError::Scheme);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        is_authority(authority)?;
        let (path, query) = path_and_query(rest)?;
        Ok(Self::Absolute { authority, path: if path.is_empty() { "/" } else { path }, query })
    }
}

/// Splits at the first `?` and checks both sides.
fn path_and_query(target: &str) -> Result<(&str, Option<&str>), TargetError> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if !path.bytes().all(is_path_byte) || !query.unwrap_or_default().bytes().all(is_query_byte) {
        return Err(TargetError::Character);
    }
    let encoded = |part: &str| {
        let digits = part.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    };
    if path.split('%').skip(1).all(encoded) { Ok((path, query)) } else { Err(TargetError::Percent) }
}

/// Checks a target in origin-form that is about to be sent.
pub(super) fn is_origin_form(target: &str) -> bool {
    target.starts_with('/') && path_and_query(target).is_ok()
}

/// Checks `host` or `host:port`: letters, digits, `-`, `.`, `_`, `~`, or an IPv6 address in brackets. Encoded and
/// internationalised names are refused, so that a name has one spelling whoever reads it.
pub(super) fn is_authority(authority: &str) -> Result<(), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::Userinfo);
    }
    let (name, port) = authority.split_at(match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    });
    if is_name(name) && is_port(port) { Ok(()) } else { Err(TargetError::Host) }
}

fn is_name(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_name_byte),
    }
}

/// Nothing, or a colon and a port.
fn is_port(port: &str) -> bool {
    let Some(digits) = port.strip_prefix(':') else { return port.is_empty() };
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?' | b'"' | b'<' | b'>' | b'\\')
}

fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}
