//! `Route`: an upstream, and where which secret goes in.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// A route. `kubectl explain klroute`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keylend.dev",
    version = "v1alpha1",
    kind = "Route",
    plural = "keylendroutes",
    singular = "keylendroute",
    shortname = "klroute",
    category = "keylend",
    namespaced,
    status = "RouteStatus",
    derive = "PartialEq",
    selectable = ".spec.upstream",
    selectable = ".spec.environment",
    printcolumn = r#"{"name":"Upstream","type":"string","jsonPath":".spec.upstream"}"#,
    printcolumn = r#"{"name":"Environment","type":"string","jsonPath":".spec.environment"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = ("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')", "metadata.name: a Route's name is an RFC 1123 label of at most 63 characters, because it is a path segment"),
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteSpec {
    /// An https origin: `https://host` or `https://host:port`.
    #[x_kube(validation = ("self.startsWith('https://')", "an upstream starts with https://"))]
    #[schemars(length(min = 9, max = 270))]
    pub upstream: String,
    /// Which environment's value goes in.
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "an environment is lower-case letters, digits and inner hyphens"))]
    #[schemars(length(min = 1, max = 63))]
    pub environment: String,
    /// The header fields to write; the app's own copies are removed.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    #[schemars(length(min = 1, max = 16))]
    pub headers: Vec<RouteHeader>,
}

/// One header field to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteHeader {
    /// The field's name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Text around `{{secret:NAME}}`.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// What the operator has observed; metadata only.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The newest generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
