//! `Secret`: the owner's canonical value, sealed; or the recipient's link to a share, which holds nothing.

use keylend_contract::blob::BlobDigest;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// The one field of a String.
pub const VALUE_FIELD: &str = "value";

/// Every whole number up to this one stands in JSON as it is (RFC 8259, 6).
const MOST: i64 = (1 << 53) - 1;

/// A secret. `kubectl explain klsec`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keylend.dev",
    version = "v1alpha1",
    kind = "Secret",
    plural = "keylendsecrets",
    singular = "keylendsecret",
    shortname = "klsec",
    category = "keylend",
    namespaced,
    status = "SecretStatus",
    derive = "PartialEq",
    selectable = ".spec.type",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Environments","type":"string","jsonPath":".status.environments[*].name"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = ("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')", "metadata.name: a Secret's name is an RFC 1123 label of at most 63 characters, so that a template can name it"),
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("self.type == oldSelf.type", "spec.type cannot be changed; make a new Secret"),
    validation = ("self.type == 'Linked' ? has(self.link) : !has(self.link)", "spec.link is for type Linked, which needs it"),
    validation = ("self.type != 'Linked' || (!has(self.environments) && !has(self.baseEnvironment))", "a Linked secret holds no value: spec.environments and spec.baseEnvironment are not for it"),
    validation = ("!has(self.environments) || self.environments.map(e, has(e.sealed) ? size(e.sealed.value) : 0).sum() <= 360000", "spec.environments: the sealed values of one Secret hold at most 256 KiB together"),
)]
pub struct SecretSpec {
    /// What kind of value this is; cannot be changed.
    #[serde(rename = "type")]
    pub type_: SecretType,
    /// The environment that `kubectl keylend put` means when none is named; never a fallback for a missing value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "an environment is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub base_environment: Option<String>,
    /// One sealed value for each environment. An environment that is taken out of the list loses its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    #[schemars(length(max = 32))]
    pub environments: Option<Vec<EnvironmentValue>>,
    /// What a Linked secret stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

/// What kind of value a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretType {
    /// One text.
    String,
    /// No value of its own: a link to shares.
    Linked,
}

impl Secret {
    /// Where the newest value of `environment` rests.
    #[must_use]
    pub fn resting(&self, environment: &str) -> Option<&FieldStatus> {
        let environments = &self.status.as_ref()?.environments;
        let environment = environments.iter().find(|each| each.name == environment)?;
        environment.fields.iter().find(|field| field.name == VALUE_FIELD)
    }

    /// The same, while the specification has the environment as well: what an owner removed is live no more.
    #[must_use]
    pub fn live(&self, environment: &str) -> Option<&FieldStatus> {
        let mut specified = self.spec.environments.iter().flatten();
        specified.any(|one| one.name == environment).then(|| self.resting(environment))?
    }

    /// What was accepted for this entry of the link.
    #[must_use]
    pub fn accepted(&self, link: &LinkedShare) -> Option<&AcceptedShare> {
        let mut accepted = self.status.as_ref()?.shares.iter();
        accepted.find(|share| share.environment == link.environment && share.share_ref == link.share_ref)
    }
}

impl SecretType {
    /// The type as it is written in manifests, and in what a value is sealed for.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Linked => "Linked",
        }
    }
}

/// One environment's sealed value.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentValue {
    /// The environment.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "an environment is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The fields, each sealed on a client for this secret, environment and field. Left out, the live value stays, so
    /// a manifest may list its environments and leave the values to `kubectl keylend put`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

/// The sealed fields of a String.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    /// A blob, as `kubectl keylend seal` prints it.
    #[x_kube(validation = ("self.startsWith('kl1.')", "a sealed value starts with 'kl1.'; make one with 'kubectl keylend seal', and never write the value itself here"))]
    #[schemars(length(min = 4, max = 87560))]
    pub value: String,
}

/// The shares a linked secret stands for, one an environment.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// One share for each environment.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["environment".to_string()]))]
    #[schemars(length(min = 1, max = 32))]
    pub shares: Vec<LinkedShare>,
}

/// One environment's share.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkedShare {
    /// The environment in which routes get this share.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "an environment is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub environment: String,
    /// Where the share is.
    pub share_ref: ShareReference,
    /// The share's UID. Where it is left out, the one found first is pinned in the status; setting it accepts a share
    /// that was created anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
}

/// A share in the owner's namespace. Both names become part of a URL, so they are names and nothing else.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShareReference {
    /// The owner's namespace.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "a namespace's name is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The share's name.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "a share's name is lower-case letters, digits, inner hyphens and dots"))]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the operator has observed; metadata only.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// The newest generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and `SourceStale`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The highest version that any field of this secret was given; none is given twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub last_version: Option<i64>,
    /// Where the live values rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    #[schemars(length(max = 32))]
    pub environments: Vec<EnvironmentStatus>,
    /// The shares a linked secret has accepted, by environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["environment".to_string()]))]
    #[schemars(length(max = 32))]
    pub shares: Vec<AcceptedShare>,
}

/// The live value of one environment.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    /// The environment.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its fields.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    #[schemars(length(max = 8))]
    pub fields: Vec<FieldStatus>,
}

/// The pointer to one field's envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldStatus {
    /// The field, such as `value`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Grows with each value of the secret.
    #[schemars(range(min = 0, max = MOST))]
    pub version: i64,
    /// Grows each time the same value is wrapped anew.
    #[schemars(range(min = 0, max = MOST))]
    pub wrap_generation: i64,
    /// The key encryption key that the value is sealed under; left out, nobody noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub key: Option<String>,
    /// That key was disabled or gone when it was last looked at: calls are refused. Decides nothing, it only tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_sealed: bool,
    /// When the value became live (RFC 3339, UTC).
    #[schemars(length(max = 40))]
    pub updated_at: String,
    /// When the live blob says it was sealed, in milliseconds since 1970.
    #[schemars(range(min = 0, max = MOST))]
    pub sealed_at_ms: i64,
    /// SHA-256 of the blobs taken in or passed over, newest first, the last 32: none of them is ever taken in again.
    #[schemars(with = "Vec<String>", length(max = 32), inner(length(min = 64, max = 64)))]
    pub digests: Vec<BlobDigest>,
}

/// A share a linked secret has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedShare {
    /// The environment.
    #[schemars(length(min = 1, max = 63))]
    pub environment: String,
    /// The share's namespace and name when it was accepted.
    pub share_ref: ShareReference,
    /// The share's UID when it was accepted.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
    /// The service accounts of this namespace that the share listed when it was last seen; left out, every one. A
    /// call of another is not told that the share was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub service_accounts: Option<Vec<String>>,
    /// Calls in this environment are refused, for what the condition `Ready` says of it. Decides nothing, it only tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}
