//! Which fields pass from one connection to the other. Pure, in both directions.
//!
//! Promises: nothing that belongs to one connection (RFC 9110 section 7.6.1), claims where a call came from, or asks
//! for another request than the one that was approved reaches the upstream; nothing that belongs to the upstream's
//! connection, offers another way around us, or speaks in our name reaches the app. Names are compared with `_` read
//! as `-`, since some upstreams do not tell them apart. Injection comes after this, so the app cannot strip it.

use crate::http1::{Field, Fields, RequestHead, ResponseHead};

/// Fields of one connection, of a proxy, and of framing, which the codec writes anew.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an app may not tell an upstream.
///
/// Ranges and differences would let an echo of the credential be fetched in pieces too small to be found in, other codings
/// and charsets in a shape that is not looked for, and digests would tell a guess from the truth; expectations are met
/// here; the rest makes an upstream act on another method, path or client than the one that was approved.
const NOT_UPSTREAM: &[&str] = &[
    "a-im",
    "accept-charset",
    "accept-encoding",
    "expect",
    "forwarded",
    "if-range",
    "max-forwards",
    "range",
    "request-range",
    "via",
    "want-content-digest",
    "want-digest",
    "want-repr-digest",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];
const NOT_UPSTREAM_FAMILIES: &[&str] = &["keylend-", "proxy-", "x-forwarded-"];

/// What an upstream may not tell an app: to go around us, or something in our name.
const NOT_TO_APP: &[&str] = &["alt-svc", "alternate-protocol"];
const NOT_TO_APP_FAMILIES: &[&str] = &["keylend-", "proxy-"];

/// Another coding could hide the credential from masking.
const IDENTITY: Field<'static> = Field { name: "Accept-Encoding", value: b"identity" };

/// The fields of the app's request that go upstream.
pub fn toward_upstream(head: &RequestHead) -> impl Iterator<Item = Field<'_>> {
    end_to_end(head.fields(), NOT_UPSTREAM, NOT_UPSTREAM_FAMILIES).chain([IDENTITY])
}

/// The fields of the upstream's response that go to the app.
pub fn toward_app(head: &ResponseHead) -> impl Iterator<Item = Field<'_>> {
    end_to_end(head.fields(), NOT_TO_APP, NOT_TO_APP_FAMILIES)
}

/// The trailers of the upstream's response that go to the app. Those of a request go nowhere.
pub fn trailers_toward_app(trailers: &Fields) -> impl Iterator<Item = Field<'_>> {
    end_to_end(trailers, NOT_TO_APP, NOT_TO_APP_FAMILIES)
}

fn end_to_end<'a>(
    fields: &'a Fields,
    not_here: &'static [&'static str],
    families: &'static [&'static str],
) -> impl Iterator<Item = Field<'a>> {
    let listed = move |name: &str| HOP_BY_HOP.iter().chain(not_here).any(|other| same(name, other));
    let in_family = move |name: &str| {
        families.iter().any(|family| name.get(..family.len()).is_some_and(|start| same(start, family)))
    };
    let options: Vec<&[u8]> = fields.members("connection").collect();
    let nominated =
        move |name: &str| options.iter().any(|option| option.eq_ignore_ascii_case(name.as_bytes()));
    fields.iter().filter(move |field| !listed(field.name) && !in_family(field.name) && !nominated(field.name))
}

/// Equal but for case, and for `_` in place of `-`.
pub(super) fn same(name: &str, lower: &str) -> bool {
    name.len() == lower.len()
        && name
            .bytes()
            .zip(lower.bytes())
            .all(|(a, b)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Asked, Buffer, RequestReader, ResponseReader};

    fn request(fields: &str) -> RequestHead {
        let mut input = Buffer::new();
        input.push(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).unwrap();
        RequestReader::new().head(&mut input).ok().flatten().unwrap()
    }

    fn response(fields: &str) -> ResponseHead {
        let mut input = Buffer::new();
        input.push(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).unwrap();
        ResponseReader::new(Asked::Other).head(&mut input).ok().flatten().unwrap()
    }

    fn names<'a>(fields: impl Iterator<Item = Field<'a>>) -> Vec<&'a str> {
        fields.map(|field| field.name).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_does_not_go_upstream() {
        for field in [
            "Connection: keep-alive",
            "Content-Length: 0",
            "Transfer-Encoding: chunked",
            "Keep-Alive: timeout=5",
            "TE: trailers",
            "Trailer: X-Sum",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic a2w=",
        ] {
            assert_eq!(
                names(toward_upstream(&request(&format!("{field}\r\n")))),
                ["Accept-Encoding"],
                "{field}"
            );
        }
    }

    #[test]
    fn what_could_change_the_approved_call_does_not_go_upstream() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X_Forwarded_Proto",
            "X-Real-IP",
            "Via",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "Max-Forwards",
            "Range",
            "If-Range",
            "Request-Range",
            "request_range",
            "A-IM",
            "Accept-Encoding",
            "Accept-Charset",
            "Want-Digest",
            "Want-Repr-Digest",
            "WANT_CONTENT_DIGEST",
            "Keylend-Refusal",
            "Content_Length",
            "TRANSFER_ENCODING",
        ] {
            let head = request(&format!("{name}: 1\r\n"));
            let passed: Vec<_> = toward_upstream(&head).map(|field| (field.name, field.value)).collect();
            assert_eq!(passed, [("Accept-Encoding", b"identity".as_slice())], "{name}");
        }
    }

    #[test]
    fn an_expectation_is_met_here_and_not_forwarded() {
        assert_eq!(names(toward_upstream(&request("Expect: 100-continue\r\n"))), ["Accept-Encoding"]);
    }

    #[test]
    fn a_nominated_field_ends_at_this_hop_in_both_directions() {
        let head =
            request("Connection: close, X-Hop\r\nx-hop: 1\r\nX-End: 2\r\nConnection: x-too\r\nX-Too: 3\r\n");
        assert_eq!(names(toward_upstream(&head)), ["X-End", "Accept-Encoding"]);
        let head = response("X-Hop: 1\r\nConnection: x-hop\r\nX-End: 2\r\n");
        assert_eq!(names(toward_app(&head)), ["X-End"]);
    }

    #[test]
    fn end_to_end_fields_pass_in_their_order_and_spelling() {
        let head = request(
            "ACCEPT: */*\r\nX-A: 1\r\nCookie: a=b\r\nx-a: 2\r\nRanges: 1\r\nX-Forward: 1\r\nWant: x\r\n",
        );
        let passed = ["ACCEPT", "X-A", "Cookie", "x-a", "Ranges", "X-Forward", "Want", "Accept-Encoding"];
        assert_eq!(names(toward_upstream(&head)), passed);
        let head = response("Set-Cookie: a=1\r\nset-cookie: b=2\r\nLocation: /\r\nAccept-Ranges: bytes\r\n");
        assert_eq!(names(toward_app(&head)), ["Set-Cookie", "set-cookie", "Location", "Accept-Ranges"]);
    }

    #[test]
    fn an_upstream_can_neither_lead_the_app_around_us_nor_speak_in_our_name() {
        let head = response(
            "Alt-Svc: h3=\":443\"\r\nAlternate-Protocol: 443:quic\r\nKeylend-Refusal: share_revoked\r\nUpgrade: h2\r\n\
             Proxy-Authenticate: Basic\r\nKeep-Alive: timeout=5\r\nTrailer: X-Sum\r\nContent-Length: 0\r\nX-End: 1\r\n",
        );
        assert_eq!(names(toward_app(&head)), ["X-End"]);
    }
}
