//! Whether the admission policies that guard injected pods stand unaltered.
//!
//! Without them a namespace's editor could look into the sidecar, so nothing is enrolled while one is missing, or
//! differs from what this binary was built with in any field. What cannot be read counts as missing.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::sync::watch;

use crate::{controllers::route::Guards, fault::Fault, metrics::Metrics};

const GUARDS: &str = include_str!("../../charts/keylend/files/guards.yaml");
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was found at the last look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PoliciesState {
    /// All there, all as they should be.
    Unaltered,
    /// The named policy or binding is missing, altered or unreadable.
    Altered(String),
}

/// The expected policies.
pub struct Policies {
    policies: Vec<ValidatingAdmissionPolicy>,
    bindings: Vec<ValidatingAdmissionPolicyBinding>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

impl Policies {
    /// Reads the policies this binary was built with.
    ///
    /// # Errors
    /// [`Fault`] if the built-in file is not what it should be, which a test rules out.
    pub fn built_in() -> Result<Self, Fault> {
        const DOING: &str = "reading the built-in admission policies";
        let (mut policies, mut bindings) = (Vec::new(), Vec::new());
        for document in GUARDS.split("\n---\n") {
            let kind: Kind =
                serde_saphyr::from_str(document).map_err(|e| Fault::new(DOING, e.to_string()))?;
            if kind.kind == "ValidatingAdmissionPolicy" {
                policies
                    .push(serde_saphyr::from_str(document).map_err(|e| Fault::new(DOING, e.to_string()))?);
            } else {
                bindings
                    .push(serde_saphyr::from_str(document).map_err(|e| Fault::new(DOING, e.to_string()))?);
            }
        }
        Ok(Self { policies, bindings })
    }

    /// Looks at what the API server has now.
    pub async fn look(&self, client: &Client) -> PoliciesState {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        for expected in &self.policies {
            let found = policies.get(&expected.name_any()).await;
            if !found.is_ok_and(|found| found.spec == expected.spec) {
                return PoliciesState::Altered(format!("ValidatingAdmissionPolicy {}", expected.name_any()));
            }
        }
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        for expected in &self.bindings {
            let found = bindings.get(&expected.name_any()).await;
            if !found.is_ok_and(|found| found.spec == expected.spec) {
                return PoliciesState::Altered(format!(
                    "ValidatingAdmissionPolicyBinding {}",
                    expected.name_any()
                ));
            }
        }
        PoliciesState::Unaltered
    }

    /// Looks again and again, and tells whoever watches when something changed.
    pub async fn keep_looking(&self, client: Client, tell: watch::Sender<Guards>, metrics: &Metrics) {
        loop {
            let state = self.look(&client).await;
            metrics.policies(&state);
            let guards = match &state {
                PoliciesState::Unaltered => Guards::Unaltered,
                PoliciesState::Altered(_) => Guards::Missing,
            };
            if tell.send_if_modified(|known| std::mem::replace(known, guards) != guards) {
                tracing::warn!(?state, "the state of the admission policies changed");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_policy_is_bound_and_denies() {
        let policies = Policies::built_in().unwrap();
        assert_eq!(policies.policies.len(), 7);
        assert_eq!(policies.bindings.len(), policies.policies.len());
        for (policy, binding) in policies.policies.iter().zip(&policies.bindings) {
            let spec = binding.spec.as_ref().unwrap();
            assert_eq!(spec.policy_name, policy.metadata.name);
            assert_eq!(spec.validation_actions, Some(vec!["Deny".to_owned()]));
            assert_eq!(policy.spec.as_ref().unwrap().failure_policy.as_deref(), Some("Fail"));
        }
    }
}
