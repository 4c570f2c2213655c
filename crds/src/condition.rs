//! The closed list of condition types and reasons. A new one is added here, with its meaning, or not at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation about an object, as Kubernetes' own `Condition` (KEP-1623), with our closed types and reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, and what to do; never a value.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When `status` last changed (RFC 3339, UTC).
    #[schemars(length(max = 40))]
    pub last_transition_time: String,
    /// The generation this was observed for.
    pub observed_generation: i64,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

/// What is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The object does what it is for. On every kind.
    Ready,
    /// A linked secret of the recipient names this share, and both are pinned to each other. On shares.
    Accepted,
    /// Nothing granted under this share can still be open. On shares.
    Revoked,
    /// A blob in the specification is older than the live value and was not taken in. On secrets.
    SourceStale,
}

/// Why a condition is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// Every value in the specification is live.
    Live,
    /// A secret without any value.
    NoValue,
    /// A blob does not open here; the message says which and why.
    BlobRefused,
    /// The blob was sealed before the live value was.
    OlderThanLive,
    /// No blob is older than the live value.
    InSync,
    /// The KMS key does not work now.
    KeySealed,
    /// Storing a value failed; tried again by itself.
    StorageFailed,
    /// A linked secret whose shares are all there.
    Linked,
    /// A share that a linked secret names is missing, or not for this namespace.
    ShareMissing,
    /// A share, secret or namespace was created anew under its name.
    RecipientChanged,
    /// The share may be used.
    Active,
    /// No linked secret has accepted the share yet.
    AwaitingRecipient,
    /// A linked secret has accepted the share.
    LinkedSecretFound,
    /// The use policy is not valid; the message names the field.
    PolicyInvalid,
    /// The share's secret is missing.
    SecretMissing,
    /// There is no value for the environment of the share, the route or the link; the message says which.
    EnvironmentUnset,
    /// A stop was accepted; what was granted before is running out.
    Stopping,
    /// Stopped by `revoked: true` or by deletion.
    Stopped,
    /// Stopped because `expiresAt` has passed.
    Expired,
    /// Not stopped.
    NotStopped,
    /// The route is complete.
    Complete,
    /// A field of the route is not valid; the message names it.
    FieldInvalid,
    /// The admission policies that guard injected pods are missing or altered.
    PoliciesMissing,
}
