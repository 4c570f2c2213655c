//! `SecretShare`: the owner's grant to one recipient, in the owner's namespace.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// A share. `kubectl explain klshare`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keylend.dev",
    version = "v1alpha1",
    kind = "SecretShare",
    plural = "secretshares",
    singular = "secretshare",
    shortname = "klshare",
    category = "keylend",
    namespaced,
    status = "SecretShareStatus",
    derive = "PartialEq",
    selectable = ".spec.secretRef.name",
    selectable = ".spec.recipient.namespace.name",
    printcolumn = r#"{"name":"Secret","type":"string","jsonPath":".spec.secretRef.name"}"#,
    printcolumn = r#"{"name":"Environment","type":"string","jsonPath":".spec.environment"}"#,
    printcolumn = r#"{"name":"Recipient","type":"string","jsonPath":".spec.recipient.namespace.name"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".spec.expiresAt","priority":1}"#,
    printcolumn = r#"{"name":"Domains","type":"string","jsonPath":".spec.use.domains","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("self.secretRef.name == oldSelf.secretRef.name && self.environment == oldSelf.environment", "spec.secretRef and spec.environment cannot be changed; make a new SecretShare"),
    validation = ("self.recipient.__namespace__.name == oldSelf.recipient.__namespace__.name", "spec.recipient.namespace.name cannot be changed; make a new SecretShare"),
    validation = ("!(has(oldSelf.revoked) && oldSelf.revoked) || (has(self.revoked) && self.revoked)", "spec.revoked is final; make a new SecretShare to share again"),
)]
pub struct SecretShareSpec {
    /// The secret, in this namespace.
    pub secret_ref: SecretReference,
    /// The one environment whose value is shared.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "an environment is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub environment: String,
    /// What the recipient may do. `UseOnly`: use the value without seeing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Who may use it.
    pub recipient: Recipient,
    /// Where the value may go.
    #[serde(rename = "use")]
    pub use_policy: UsePolicy,
    /// When the share ends by itself (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DateTime>")]
    pub expires_at: Option<String>,
    /// Set to true to stop, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<bool>,
}

/// A time as Kubernetes writes it (RFC 3339).
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
struct DateTime(#[schemars(extend("format" = "date-time"), length(max = 40))] String);

/// A secret in the share's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretReference {
    /// Its resource name.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "a secret's name is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What a recipient may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// Use the value in approved calls, never see it.
    UseOnly,
}

impl SecretShare {
    /// The UID of the namespace it is meant for: as its owner wrote it, or else as pinned at first acceptance.
    #[must_use]
    pub fn recipient_namespace_uid(&self) -> Option<&str> {
        let pinned = || self.status.as_ref()?.recipient_namespace_uid.as_deref();
        self.spec.recipient.namespace.uid.as_deref().or_else(pinned)
    }
}

/// Who may use a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipient {
    /// Pods of one namespace.
    pub namespace: NamespaceRecipient,
}

/// Pods of one namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceRecipient {
    /// The namespace's name; cannot be changed.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "a namespace's name is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The namespace's UID. Where it is left out, the one found at first acceptance is pinned in the status; setting it
    /// confirms a namespace that was created anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
    /// The service accounts that may use it; left out, every one of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self.all(name, name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))", "a service account's name is lower-case letters, digits, inner hyphens and inner dots"))]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub service_accounts: Option<Vec<String>>,
}

/// Where a value may go, and in which place of a request.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsePolicy {
    /// Exact hosts, or `*.` and a base for exactly one label.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = ("self.all(d, !d.contains(':') && !d.contains('/') && !d.contains('@'))", "a domain is a host name alone, without scheme, port, path or user; ports have their own field"),
        validation = ("self.all(d, d.matches('^[ -~]*$'))", "a domain is written with its A-labels (xn--...)"),
        validation = ("self.all(d, d == d.lowerAscii())", "a domain is written in lower case"),
        validation = ("self.all(d, d.matches('^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))", "a domain has two labels or more of letters, digits and inner hyphens, and '*' only as its whole first label"),
    )]
    #[schemars(inner(length(min = 1, max = 255)))]
    pub domains: Vec<String>,
    /// The ports; left out, 443 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535)))]
    pub ports: Option<Vec<i32>>,
    /// Private address ranges (CIDR) the hosts may resolve to; left out, public addresses alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 49)))]
    pub networks: Option<Vec<String>>,
    /// Certificate authorities (PEM) for these hosts, instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32768))]
    pub ca_bundle: Option<String>,
    /// The places a route may put the value into.
    pub inject: Inject,
}

/// The places a route may put a value into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inject {
    /// Header fields by name.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 64)))]
    pub headers: Vec<String>,
}

/// What the operator has observed; metadata only.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretShareStatus {
    /// The newest generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted and Revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The recipient namespace's UID at first acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub recipient_namespace_uid: Option<String>,
    /// The secret's UID when the share was first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub secret_uid: Option<String>,
}
