//! What a row may say.
//!
//! A row names who, what, where and why. It never holds a value: every field is a bounded [`Text`], a [`Path`]
//! without its query, a number, or a word of ours.
//!
//! Never add: a header, a query, a body, an error's text, or any free text of a request.

use jiff::Timestamp;
use serde::Serialize;

use super::text::{Path, Text};

/// The authenticated pod a row is about. It also decides whose share of the log the row counts against.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Caller {
    /// The pod's namespace.
    pub namespace: Text,
    /// Its UID: a re-created namespace is another recipient.
    pub namespace_uid: Text,
    /// The pod.
    pub pod: Text,
    /// Its UID.
    pub pod_uid: Text,
    /// The service account it runs as.
    pub service_account: Text,
}

/// What joins a row with the call it is about, and with its hit upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallIds {
    /// The sidecar's id of the call.
    pub call_id: Text,
    /// W3C trace id.
    pub trace_id: Text,
    /// W3C span id.
    pub span_id: Text,
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The host, in its one spelling.
    pub host: Text,
    /// The port.
    pub port: u16,
}

/// A secret that a call uses, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LentSecret {
    /// Its name in the route.
    pub name: Text,
    /// The namespace of the owner.
    pub owner_namespace: Text,
    /// The share that lends it.
    pub share_uid: Text,
}

/// A use that is about to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// Which call.
    #[serde(flatten)]
    pub call: CallIds,
    /// Who uses.
    pub caller: Caller,
    /// By which route.
    pub route: Text,
    /// In which environment.
    pub environment: Text,
    /// Which secrets, from whom.
    pub secrets: Vec<LentSecret>,
    /// Toward whom.
    pub destination: Destination,
    /// With which method.
    pub method: Text,
    /// On which path.
    pub path: Path,
}

/// A call or an enrolment that was refused; what was not understood of it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The refusal's stable code.
    pub code: &'static str,
    /// Which call; none for an enrolment.
    #[serde(flatten)]
    pub call: Option<CallIds>,
    /// Who asked, if that was established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// The route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Text>,
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Text>,
    /// The secrets and shares that were found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<LentSecret>,
    /// The destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
}

/// A container whose key is about to be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolment {
    /// Whose it is.
    pub caller: Caller,
    /// Which container of the pod.
    pub container_id: Text,
}

/// A change that somebody made: a value taken in, a share stopped. Each replica that sees it may put it on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Write {
    /// What was changed.
    pub change: Change,
    /// On which object.
    pub object: Object,
    /// In which environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Text>,
    /// Which field of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Text>,
    /// The version of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

impl Write {
    /// A change of the object as a whole.
    #[must_use]
    pub fn of(change: Change, object: Object) -> Self {
        Self { change, object, environment: None, field: None, version: None }
    }
}

/// What a [`Write`] changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A value was taken in, and is about to be made live.
    ValueTakenIn,
    /// A share's owner has set `revoked: true`.
    ShareRevoked,
    /// A share's deletion was accepted.
    ShareDeleted,
    /// A share's time is over.
    ShareExpired,
    /// Nothing that was granted under a share can still be open.
    ShareStopped,
}

/// The object a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// Its UID.
    pub uid: Text,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// What happened.
    #[serde(rename = "code")]
    pub concern: Concern,
    /// Who did it, if that was established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// What it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
}

/// What an [`Alarm`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
    /// A token came back with another key while its container still runs.
    TokenReplayed,
    /// A sealed value is not what was sealed under its name.
    IntegrityFailed,
    /// Our admission policies are missing or altered.
    GuardsAltered,
}

impl Concern {
    /// The word in the row.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TokenReplayed => "token_replayed",
            Self::IntegrityFailed => "integrity_failed",
            Self::GuardsAltered => "guards_altered",
        }
    }
}

/// Whose denials are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Party {
    /// One pod.
    Caller(Caller),
    /// Everybody who did not prove who they are.
    Unknown,
    /// Everybody beyond the number of callers that are told apart.
    Further,
}

/// Denials that got no row of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Coalesced {
    pub(super) code: &'static str,
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) by: Party,
}

/// Everything that stands in the log. The last three are made by the log itself.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Row {
    Intent(Intent),
    Refusal(Refusal),
    Write(Write),
    Enrolment(Enrolment),
    Alarm(Alarm),
    Coalesced(Coalesced),
    /// First in every segment; its `prev` is the last hash of the segment before.
    SegmentOpened {
        incarnation: String,
    },
    /// Last in a segment that was closed in good order.
    SegmentClosed {
        denial_bytes: u64,
    },
}

/// The kind of a segment's first row.
pub(super) const OPENING_KIND: &str = "segment_opened";

/// The kind of the last row of a segment that was closed in good order.
pub(super) const CLOSING_KIND: &str = "segment_closed";

/// Refusals and counts share one part of the log; the kinds they have in a row.
pub(super) const DENIAL_KINDS: [&str; 2] = ["refusal", "coalesced"];
