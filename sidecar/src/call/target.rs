//! Where a request wants to go: `/<route>/<path>?<query>` at the listener's own authority. Pure.
//!
//! Promises: a request names at most one route, by the bytes it was sent in; nothing is decoded, normalised or guessed;
//! what follows the route goes upstream as it came. Never add a second spelling of a route.

use std::net::SocketAddr;

use keylend_contract::refusal::Refusal;

use crate::http1::{self, RequestHead};

/// The longest label of DNS, and so the longest name of a route (RFC 1123, 2.1).
const MAX_LABEL_BYTES: usize = 63;

/// The listener's own names, as they stand in Host: nothing else is served.
pub struct Authority([String; 2]);

impl Authority {
    /// The names of a listener on this loopback address.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self([address.to_string(), format!("localhost:{}", address.port())])
    }
}

/// One destination as the app spelt it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// The route's name: an RFC 1123 label.
    pub route: &'a str,
    /// What follows the route; starts with a slash.
    pub path: &'a str,
    /// What follows the first `?`.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the target of `head`.
    ///
    /// # Errors
    /// [`Refusal::RequestMalformed`] for another Host than ours, another form than origin-form, or no route.
    pub fn of(head: &'a RequestHead, ours: &Authority) -> Result<Self, Refusal> {
        let malformed = |reason: &str| Refusal::RequestMalformed { reason: reason.into() };
        let (path, query) = at_our_authority(head, ours)?;
        let rest = path.strip_prefix('/').unwrap_or(path);
        let (route, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !is_label(route) {
            return Err(malformed("the path starts with a Route's name, as in /stripe/v1/charges"));
        }
        Ok(Self { route, path: if path.is_empty() { "/" } else { path }, query })
    }

    /// The target of the request upstream, in origin-form (RFC 9112, 3.2.1).
    #[must_use]
    pub fn origin_form(&self) -> String {
        match self.query {
            Some(query) => [self.path, "?", query].concat(),
            None => self.path.to_owned(),
        }
    }
}

/// The path and query of a request that is meant for this listener.
///
/// # Errors
/// [`Refusal::RequestMalformed`].
pub fn at_our_authority<'a>(
    head: &'a RequestHead,
    ours: &Authority,
) -> Result<(&'a str, Option<&'a str>), Refusal> {
    let malformed = |reason: String| Refusal::RequestMalformed { reason };
    if !ours.0.iter().any(|name| name == head.host()) {
        return Err(malformed(format!("Host is not {} or {}", ours.0[0], ours.0[1])));
    }
    match head.target() {
        http1::Target::Origin { path, query } => Ok((path, query)),
        http1::Target::Absolute { .. } => {
            Err(malformed("the request target is not in origin-form (RFC 9112 section 3.2.1)".into()))
        }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Buffer, RequestReader};

    fn ours() -> Authority {
        Authority::of("127.0.0.1:7180".parse().unwrap())
    }

    fn head(target: &str, host: &str) -> RequestHead {
        let mut input = Buffer::new();
        input.push(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        RequestReader::new().head(&mut input).unwrap().unwrap()
    }

    #[test]
    fn the_first_segment_is_the_route_and_the_rest_goes_upstream_as_it_came() {
        for (target, route, upstream) in [
            ("/stripe", "stripe", "/"),
            ("/stripe/", "stripe", "/"),
            ("/stripe?a=b", "stripe", "/?a=b"),
            ("/stripe?", "stripe", "/?"),
            ("/stripe/v1/charges?limit=1&x=%2F", "stripe", "/v1/charges?limit=1&x=%2F"),
            ("/stripe//v1/../%2e%2E/;a=b", "stripe", "//v1/../%2e%2E/;a=b"),
            ("/0-a/x?/y?z", "0-a", "/x?/y?z"),
        ] {
            let head = head(target, "127.0.0.1:7180");
            let found = Target::of(&head, &ours()).unwrap();
            assert_eq!((found.route, found.origin_form().as_str()), (route, upstream), "{target}");
        }
    }

    #[test]
    fn a_route_is_a_label_and_nothing_is_decoded() {
        let long = format!("/{}/x", "a".repeat(64));
        for target in [
            "/",
            "//stripe/x",
            "/Stripe/x",
            "/-a/x",
            "/a-/x",
            "/a.b/x",
            "/a_b/x",
            "/%73tripe/x",
            "/stripe%2Fx",
            "/.keylend/started",
            "/..",
            &long,
        ] {
            let head = head(target, "127.0.0.1:7180");
            assert!(Target::of(&head, &ours()).is_err(), "{target}");
        }
    }

    #[test]
    fn only_our_own_authority_is_served() {
        for (target, host, served) in [
            ("/stripe/", "127.0.0.1:7180", true),
            ("/stripe/", "localhost:7180", true),
            ("/stripe/", "127.0.0.1", false),
            ("/stripe/", "localhost", false),
            ("/stripe/", "LOCALHOST:7180", false),
            ("/stripe/", "127.0.0.1:07180", false),
            ("/stripe/", "127.1:7180", false),
            ("/stripe/", "api.stripe.com", false),
            ("/stripe/", "rebound.example.com:7180", false),
            ("http://api.stripe.com/stripe/", "api.stripe.com", false),
            ("http://127.0.0.1:7180/stripe/", "127.0.0.1:7180", false),
        ] {
            assert_eq!(Target::of(&head(target, host), &ours()).is_ok(), served, "{target} {host}");
        }
    }
}
