//! Keylend's resources (`keylend.dev/v1alpha1`): the Rust types are the source, the YAML beside them is generated.
//!
//! No field holds a plaintext value, and a field that nothing enforces is not in the schema. Rules that concern one
//! object alone are CEL in the schema, so that the API server refuses with our sentence and no webhook is needed.

pub mod condition;
pub mod route;
pub mod secret;
pub mod secret_share;

pub use condition::{Condition, ConditionType, Reason};
pub use route::{Route, RouteSpec, RouteStatus};
pub use secret::{Secret, SecretSpec, SecretStatus};
pub use secret_share::{SecretShare, SecretShareSpec, SecretShareStatus};

/// Keeps a stopped share until nothing that it granted can still be open.
pub const STOP_FINALIZER: &str = "keylend.dev/stop";
/// Removes a secret's envelopes with it.
pub const ENVELOPE_FINALIZER: &str = "keylend.dev/envelopes";
/// The annotation by which a pod asks for the sidecar; its one value is `"true"`.
pub const INJECT_ANNOTATION: &str = "keylend.dev/inject";

/// Every custom resource definition, in the order they are written.
#[must_use]
pub fn definitions()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> {
    use kube::CustomResourceExt as _;
    vec![Secret::crd(), SecretShare::crd(), Route::crd()]
}

/// The file a definition is committed as.
#[must_use]
pub fn file_name(
    definition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
) -> String {
    format!("{}.yaml", definition.spec.names.plural)
}

/// Writes a definition as YAML, with every string quoted.
///
/// # Errors
/// The serializer's, which this type does not provoke.
pub fn yaml(
    definition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
) -> Result<String, serde_saphyr::ser::Error> {
    let text = serde_saphyr::to_string(definition)?;
    Ok(format!("# GENERATED from the Rust types beside this file by `make generate`; do not edit.\n{text}"))
}
