//! Recognises a pod that [`super::inject`] made: whether its sidecar is ours, and alone with its token.
//!
//! The live pod is compared with the injector's own output, byte for byte where the sidecar's container is concerned, so a
//! hand-written pod passes only if it is what the injector would have made, and a field this version does not know is a
//! difference. What a pod was injected with may change with an upgrade while it runs: the image, when it is pulled, and
//! the roots. They are compared once, when a container's key is first bound.

use kube::core::DynamicObject;
use serde_json::Value;

use super::{
    inject::{
        AUDIENCE, CONTAINER, INJECTED_LABEL, InjectionSettings, TOKEN_VOLUME, sidecar_container, token_volume,
    },
    spec::{exposure, items, mentions, runs_as_sidecar, shares_token, takes_name},
};

/// What the sidecar may ask for: amounts. Anything else, a device or a claim, would bring foreign things into it.
const AMOUNTS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// In what a live pod differs from the one we would have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The sidecar's container is missing, not the first, doubled, or has another form.
    #[error("the container is not the one the injector makes")]
    Container,
    /// The kubelet runs another image than the one whose digest is configured.
    #[error("the container runs another image than the configured one")]
    Image,
    /// The token's volume is missing or has another form.
    #[error("the token volume is not the one the injector makes")]
    Volume,
    /// Something else in the pod can reach the token.
    #[error("another container or volume can reach the sidecar's token")]
    TokenShared,
    /// Something else in the pod runs as the sidecar's user, or is attached to it.
    #[error("another container could act as the sidecar or look into it")]
    Intruder,
    /// Shared process or host namespaces, names of its own, or more power than an app needs.
    #[error("the pod has {0}")]
    Exposed(&'static str),
    /// The label is missing.
    #[error("the pod lacks the label of injected pods")]
    Label,
}

/// Whether a container comes for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// No key is bound to it yet: it must be what the injector makes now.
    First,
    /// The very key that is bound to it comes back: it may have been injected before an upgrade.
    Again,
}

/// The sidecar's container as the kubelet says it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The container's ID.
    pub id: String,
    /// What image it runs: a name with a digest, or a digest.
    pub image_id: String,
}

/// Decides whether a live pod, in which `running` runs, is what the injector makes.
///
/// # Errors
/// The first [`Difference`].
pub fn verify(
    live: &DynamicObject,
    running: &Running,
    settings: &InjectionSettings,
    visit: Visit,
) -> Result<(), Difference> {
    let label = live.metadata.labels.as_ref().and_then(|labels| labels.get(INJECTED_LABEL));
    if label.map(String::as_str) != Some("true") {
        return Err(Difference::Label);
    }
    let spec = &live.data["spec"];
    if let Some(exposure) = exposure(spec) {
        return Err(Difference::Exposed(exposure));
    }
    verify_container(spec, settings, visit)?;
    if visit == Visit::First && !runs_image(running, settings) {
        return Err(Difference::Image);
    }
    verify_volumes(spec)?;
    if shares_token(spec) {
        return Err(Difference::TokenShared);
    }
    if items(spec, "ephemeralContainers").next().is_some() || runs_as_sidecar(spec) {
        return Err(Difference::Intruder);
    }
    Ok(())
}

/// The sidecar's container that runs now, by the pod's status, which only the kubelet writes.
#[must_use]
pub fn running_sidecar(live: &DynamicObject) -> Option<Running> {
    let mut statuses = items(&live.data["status"], "initContainerStatuses");
    let status = statuses.find(|status| status["name"] == CONTAINER)?;
    status["state"]["running"].as_object()?;
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    Some(Running { id: text("containerID"), image_id: text("imageID") })
        .filter(|running| !running.id.is_empty())
}

fn verify_container(spec: &Value, settings: &InjectionSettings, visit: Visit) -> Result<(), Difference> {
    let mut first = items(spec, "initContainers").next().cloned().ok_or(Difference::Container)?;
    let mut ours = match visit {
        Visit::First => sidecar_container(settings),
        Visit::Again => sidecar_container(&shown(&first).ok_or(Difference::Container)?),
    };
    let fields = first.as_object_mut().ok_or(Difference::Container)?;
    // An administrator's LimitRange or a resize changes amounts, and how they are resized; neither holds any power.
    let resources = fields.remove("resources").unwrap_or_default();
    fields.remove("resizePolicy");
    ours.as_object_mut().and_then(|ours| ours.remove("resources"));
    let unchanged = first == ours && only_amounts(&resources) && !takes_name(spec);
    if unchanged { Ok(()) } else { Err(Difference::Container) }
}

/// What a container was injected with, as far as it shows that.
fn shown(container: &Value) -> Option<InjectionSettings> {
    let text = |pointer: &str| container.pointer(pointer)?.as_str().map(str::to_owned);
    Some(InjectionSettings {
        image: text("/image")?,
        image_pull_policy: text("/imagePullPolicy")?,
        operator_roots_pem: text("/env/0/value")?,
    })
}

fn only_amounts(resources: &Value) -> bool {
    let Some(kinds) = resources.as_object() else { return resources.is_null() };
    kinds.iter().all(|(kind, amounts)| {
        let known = matches!(kind.as_str(), "limits" | "requests");
        known
            && amounts
                .as_object()
                .is_some_and(|amounts| amounts.keys().all(|name| AMOUNTS.contains(&&**name)))
    })
}

/// Without a configured digest there is nothing to compare; [`crate::app`] warns of that.
fn runs_image(running: &Running, settings: &InjectionSettings) -> bool {
    let image_id = &running.image_id;
    let runs = image_id.rsplit_once('@').map_or(image_id.as_str(), |(_, digest)| digest);
    settings.image_digest().is_none_or(|digest| digest == runs)
}

fn verify_volumes(spec: &Value) -> Result<(), Difference> {
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        items(spec, "volumes").partition(|volume| volume["name"] == TOKEN_VOLUME);
    if ours != [&token_volume()] {
        return Err(Difference::Volume);
    }
    let elsewhere = others.into_iter().any(|volume| mentions(volume, AUDIENCE));
    if elsewhere { Err(Difference::TokenShared) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
