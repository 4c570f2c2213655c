//! Keeps the webhook configuration's `caBundle` equal to our roots.
//!
//! The chart leaves the field out and our field manager owns it, so that an upgrade cannot wipe it.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::fault::with_causes;

/// The webhook configuration, and the webhook in it.
pub const WEBHOOK: &str = "keylend";
/// The webhook's own name.
pub const WEBHOOK_NAME: &str = "inject.keylend.dev";

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Sets the `caBundle` whenever it differs.
pub async fn keep(client: Client, roots_pem: String) {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client);
    loop {
        if let Err(error) = set(&configurations, &roots_pem).await {
            tracing::warn!(error = with_causes(&error), "the webhook's CA bundle could not be set");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn set(configurations: &Api<MutatingWebhookConfiguration>, roots_pem: &str) -> Result<(), kube::Error> {
    let configuration = configurations.get(WEBHOOK).await?;
    let ours = configuration.webhooks.iter().flatten().find(|webhook| webhook.name == WEBHOOK_NAME);
    let bundle = ours.and_then(|webhook| webhook.client_config.ca_bundle.as_ref());
    if bundle.is_some_and(|bundle| bundle.0 == roots_pem.as_bytes()) {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "webhooks": [{
            "name": WEBHOOK_NAME,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"caBundle": BASE64_STANDARD.encode(roots_pem)},
        }],
    });
    let strategic = Patch::Strategic(patch);
    configurations.patch(WEBHOOK, &PatchParams::default(), &strategic).await.map(|_| ())
}
