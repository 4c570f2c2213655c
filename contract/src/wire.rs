//! The messages between sidecar and operator: JSON, with the values beside it as bytes of their own (`frame.rs`).
//!
//! Each request is one HTTP/2 POST, and the body of its answer is under the connection's [veil](crate::veil). Every request
//! names [`WIRE_VERSION`]; the operator speaks that and the one before.
//! Unknown versions, fields and tags are refused: what is not understood may have been a condition.
//! `/v1/control`, the messages `stop` and `stopped` and the acknowledgement `aborted` are reserved for telling sidecars
//! of a stop before their renewals do.

mod enrolment;
mod frame;

use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

pub use self::{
    enrolment::{Enrol, EnrolAnswer, base64_bytes, base64_text, enrolment_statement},
    frame::{WireError, decode, encode},
};
use crate::{
    address::Networks,
    domain_lock::DomainLock,
    hexadecimal::hexadecimal,
    material::HeaderMaterial,
    place::{HeaderPlace, MAX_PLACES},
    refusal::Refusal,
    template::{MAX_TEMPLATE_SECRETS, Template},
    upstream::{Ports, Upstream},
};

/// The version spoken here.
pub const WIRE_VERSION: u16 = 1;

/// The oldest version the operator still speaks.
pub const OLDEST_WIRE_VERSION: u16 = 1;

/// T: a grant lets a call begin within this time of sending its ask, and a renewal lets it go on for as long.
pub const GRANT_TERM: Duration = Duration::from_secs(2);

/// Where a sidecar enrols: [`Enrol`] in, [`EnrolAnswer`] out. The one path that needs no client certificate.
pub const ENROL_PATH: &str = "/v1/enrol";
/// Where a sidecar asks: [`Ask`] in, [`Answer`] out.
pub const ASK_PATH: &str = "/v1/ask";
/// Where a sidecar renews: [`Renew`] in, [`RenewAnswer`] out.
pub const RENEW_PATH: &str = "/v1/renew";

/// The name in the operator's serving certificate.
pub const OPERATOR_SERVER_NAME: &str = "operator.keylend.internal";
/// The port the operator serves sidecars on.
pub const OPERATOR_PORT: u16 = 8443;

/// The longest JSON message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// The most values one answer carries.
pub const MAX_VALUES: usize = MAX_PLACES * MAX_TEMPLATE_SECRETS;
/// The most calls one [`Renew`] carries.
pub const MAX_RENEWED_CALLS: usize = 256;

/// One call's name, in rows, grants and renewals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub Uuid);

/// W3C Trace Context identifiers, lower-case hexadecimal: 32 and 16 digits. They join an audit row with its upstream hit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trace {
    /// The trace the call belongs to.
    pub trace_id: String,
    /// The call itself: fresh for each.
    pub span_id: String,
}

/// Where a call wants to go.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// URL mode: a Route of the caller's namespace.
    Route(String),
}

/// A question before each call: may I, and with what?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// See [`WIRE_VERSION`].
    pub version: u16,
    /// The call.
    pub call: CallId,
    /// Its trace.
    pub trace: Trace,
    /// Where to.
    pub target: Target,
    /// The request's method.
    pub method: String,
    /// The path after the route, without the query.
    pub path: String,
}

/// The answer to an [`Ask`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Go ahead. The values the parts point at follow the message.
    Granted(Box<Granted>),
    /// No.
    Refused(Refusal),
}

/// What a grant says, but for the values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Granted {
    /// The call may begin within so many milliseconds of *sending* its ask; at most [`GRANT_TERM`].
    pub begin_within_ms: u64,
    /// The one destination.
    pub destination: Upstream,
    /// What the owners approved, one entry a share; the sidecar permits again by every one of them.
    pub permits: Vec<Permit>,
    /// The fields to write.
    pub headers: Vec<HeaderMaterial>,
    /// The fields as the route has them.
    pub headers_digest: HeadersDigest,
}

/// What a grant rests on. A call goes on only while the rule, asked again, rests on the very same: whatever was edited
/// in a share or in the route's headers, the call begins anew or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Basis {
    /// Where the call goes.
    pub destination: Upstream,
    /// The shares that hold it, in the order of the grant.
    pub shares: Vec<HeldShare>,
    /// The route's headers.
    pub headers: HeadersDigest,
}

/// A share as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldShare {
    /// Its UID.
    pub uid: String,
    /// Its generation, which each edit of its specification raises, and nothing else does.
    pub generation: i64,
}

/// SHA-256 over a route's list of headers, in hexadecimal: equal lists have equal ones.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeadersDigest(String);

/// One share's hold on a call: losing it cuts the call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Permit {
    /// The share's UID.
    pub share: String,
    /// Its generation when it was read; with the UID it parts connection pools.
    pub generation: i64,
    /// The hosts.
    pub lock: DomainLock,
    /// The ports.
    pub ports: Ports,
    /// The networks beside the public addresses.
    pub networks: Networks,
    /// Who may vouch for the upstream.
    pub anchors: Anchors,
}

/// The certificate authorities that may vouch for an upstream.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Anchors {
    /// The public ones built into the sidecar.
    Public,
    /// The owner's, as PEM, instead of the public ones.
    Pem(String),
}

/// Open calls that want to go on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Renew {
    /// See [`WIRE_VERSION`].
    pub version: u16,
    /// At most [`MAX_RENEWED_CALLS`]: more are no message.
    #[serde(deserialize_with = "few_calls")]
    pub calls: Vec<OpenCall>,
}

/// One open call, or one that may still begin: its ask, and what was granted then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenCall {
    /// The ask as it was.
    pub ask: Ask,
    /// What its grant rests on.
    pub basis: Basis,
}

/// The answer to a [`Renew`]: a verdict a call, in the same order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewAnswer {
    /// One for each call.
    pub verdicts: Vec<Verdict>,
}

/// What becomes of one open call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It may go on for so many milliseconds after *sending* the renewal; at most [`GRANT_TERM`].
    Held(u64),
    /// Cut it now.
    Cut(Refusal),
    /// Nothing could be read to decide by: what was said before stands, and runs out by itself.
    Undecided,
}

impl Granted {
    /// What it rests on.
    #[must_use]
    pub fn basis(&self) -> Basis {
        let held = |permit: &Permit| HeldShare { uid: permit.share.clone(), generation: permit.generation };
        Basis {
            destination: self.destination.clone(),
            shares: self.permits.iter().map(held).collect(),
            headers: self.headers_digest.clone(),
        }
    }
}

impl HeadersDigest {
    /// The digest of `headers`, in their order.
    #[must_use]
    pub fn of(headers: &[(HeaderPlace, Template)]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for (place, template) in headers {
            // Neither text can hold a line's end.
            for text in [place.as_str(), &String::from(template.clone())] {
                context.update(text.as_bytes());
                context.update(b"\n");
            }
        }
        Self(hexadecimal(context.finish().as_ref()))
    }
}

/// Decides whether `version` is spoken here.
///
/// # Errors
/// [`Refusal::WireVersionUnknown`].
pub fn speak(version: u16) -> Result<(), Refusal> {
    if (OLDEST_WIRE_VERSION..=WIRE_VERSION).contains(&version) {
        Ok(())
    } else {
        Err(Refusal::WireVersionUnknown)
    }
}

fn few_calls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OpenCall>, D::Error> {
    let calls = Vec::deserialize(deserializer)?;
    if calls.len() > MAX_RENEWED_CALLS {
        return Err(de::Error::invalid_length(calls.len(), &"fewer calls"));
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            version: WIRE_VERSION,
            call: CallId(Uuid::from_u128(7)),
            trace: Trace { trace_id: "0".repeat(32), span_id: "0".repeat(16) },
            target: Target::Route("stripe".into()),
            method: "POST".into(),
            path: "/v1/charges".into(),
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let with = |text: &str| {
            let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(&[0, 0]);
            decode::<Ask>(&bytes).is_err()
        };
        let json = serde_json::to_string(&ask()).unwrap();
        assert!(!with(&json));
        assert!(with(&json.replacen('{', r#"{"onlyIf":"monday","#, 1)));
        assert!(with(&json.replace(r#""route""#, r#""host""#)));
        for version in [0, WIRE_VERSION + 1] {
            assert_eq!(speak(version), Err(Refusal::WireVersionUnknown));
        }
        assert_eq!(speak(WIRE_VERSION), Ok(()));
    }

    #[test]
    fn a_renewal_of_too_many_calls_is_no_message() {
        let basis = Basis {
            destination: "https://api.example.com".parse().unwrap(),
            shares: vec![],
            headers: HeadersDigest::of(&[]),
        };
        let call = OpenCall { ask: ask(), basis };
        for (calls, read) in [(MAX_RENEWED_CALLS, true), (MAX_RENEWED_CALLS + 1, false)] {
            let renew = Renew { version: WIRE_VERSION, calls: vec![call.clone(); calls] };
            assert_eq!(decode::<Renew>(&encode(&renew, &[]).unwrap()).is_ok(), read, "{calls}");
        }
    }

    #[test]
    fn lists_of_headers_that_differ_in_anything_have_other_digests() {
        let digest = |headers: &[(&str, &str)]| {
            let header = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
            HeadersDigest::of(&headers.iter().map(header).collect::<Vec<_>>())
        };
        let (one, other) = (("authorization", "Bearer {{secret:a}}"), ("x-key", "{{secret:b}}"));
        let lists: [&[(&str, &str)]; 6] = [
            &[one],
            &[one, other],
            &[other, one],
            &[("x-authorization", one.1)],
            &[(one.0, "Bearer {{secret:b}}")],
            &[(one.0, "Basic {{secret:a}}")],
        ];
        for (at, list) in lists.iter().enumerate() {
            assert_eq!(digest(list), digest(list));
            assert!(lists[..at].iter().all(|earlier| digest(earlier) != digest(list)), "{list:?}");
        }
    }

    #[test]
    fn an_empty_lock_is_no_permit() {
        let permit =
            r#"{"share":"u","generation":1,"lock":[],"ports":[443],"networks":[],"anchors":"public"}"#;
        assert!(serde_json::from_str::<Permit>(permit).is_err());
        let filled = permit.replace("[],\"ports", "[\"a.example.com\"],\"ports");
        assert!(serde_json::from_str::<Permit>(&filled).is_ok());
    }
}
