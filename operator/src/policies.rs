//! Whether the admission policies that guard injected pods stand unaltered.
//!
//! Without them a namespace's editor could look into the sidecar, so nothing is enrolled while one is missing, or
//! differs from what this binary was built with in any field. What cannot be read counts as missing.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::{Mutex, watch};

use crate::{
    audit::{AuditLog, row},
    fault::Fault,
    metrics::Metrics,
};

const GUARDS: &str = include_str!("../../charts/keylend/files/guards.yaml");
const LOOK_EVERY: Duration = Duration::from_secs(5);
const GUARDS_ALTERED: row::Alarm =
    row::Alarm { concern: row::Concern::GuardsAltered, caller: None, object: None };

/// Whether the admission policies that guard injected pods stand as we wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guards {
    /// All of them do.
    Unaltered,
    /// One is missing or altered, or nobody could look.
    Missing,
}

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
    rules: Vec<ValidatingAdmissionPolicy>,
    bindings: Vec<ValidatingAdmissionPolicyBinding>,
    last: Mutex<Option<(Instant, PoliciesState)>>,
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
        let (mut rules, mut bindings) = (Vec::new(), Vec::new());
        for document in GUARDS.split("\n---\n") {
            let kind: Kind =
                serde_saphyr::from_str(document).map_err(|e| Fault::new(DOING, e.to_string()))?;
            let unreadable = |e: serde_saphyr::Error| Fault::new(DOING, e.to_string());
            match kind.kind.as_str() {
                "ValidatingAdmissionPolicy" => {
                    rules.push(serde_saphyr::from_str(document).map_err(unreadable)?);
                }
                "ValidatingAdmissionPolicyBinding" => {
                    bindings.push(serde_saphyr::from_str(document).map_err(unreadable)?);
                }
                other => return Err(Fault::new(DOING, format!("there is a {other}"))),
            }
        }
        Ok(Self { rules, bindings, last: Mutex::default() })
    }

    /// What was found by a look that began less than [`LOOK_EVERY`] ago, or by one now. Whoever asks meanwhile waits for
    /// the same look, so that a crowd costs the API server no more than one.
    pub async fn recent(&self, client: &Client) -> PoliciesState {
        let mut last = self.last.lock().await;
        if let Some((_, state)) = last.as_ref().filter(|(began, _)| began.elapsed() < LOOK_EVERY) {
            return state.clone();
        }
        let began = Instant::now();
        let state = self.look(client).await;
        *last = Some((began, state.clone()));
        state
    }

    /// Looks at what the API server has now.
    async fn look(&self, client: &Client) -> PoliciesState {
        let altered = match first_altered(client, &self.rules, |policy| &policy.spec).await {
            Some(policy) => Some(policy),
            None => first_altered(client, &self.bindings, |binding| &binding.spec).await,
        };
        altered.map_or(PoliciesState::Unaltered, PoliciesState::Altered)
    }

    /// Looks again and again; tells whoever watches when something changed, and raises an alarm when it is for the worse.
    pub async fn keep_looking(
        &self,
        client: Client,
        tell: watch::Sender<Guards>,
        metrics: &Metrics,
        audit: &AuditLog,
    ) {
        let mut known = PoliciesState::Unaltered;
        loop {
            *self.last.lock().await = None;
            let state = self.recent(&client).await;
            metrics.policies(&state);
            tell.send_if_modified(|known| std::mem::replace(known, state.guards()) != state.guards());
            if state != known {
                tracing::warn!(?state, "the state of the admission policies changed");
                if state.guards() == Guards::Missing {
                    audit.alarm(GUARDS_ALTERED).await;
                }
                known = state;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl PoliciesState {
    fn guards(&self) -> Guards {
        match self {
            Self::Unaltered => Guards::Unaltered,
            Self::Altered(_) => Guards::Missing,
        }
    }
}

/// The first of those `expected` that is missing, unreadable, or has another specification: its kind and name.
async fn first_altered<K, S>(client: &Client, expected: &[K], spec: impl Fn(&K) -> &S) -> Option<String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: PartialEq,
{
    let all: Api<K> = Api::all(client.clone());
    for expected in expected {
        let found = all.get(&expected.name_any()).await;
        if !found.is_ok_and(|found| spec(&found) == spec(expected)) {
            return Some(format!("{} {}", K::kind(&()), expected.name_any()));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use keylend_api_server::ApiServer;

    use super::*;

    const RESOURCES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";

    /// An API server that has every policy and binding as it should be.
    pub(crate) fn stand(api: &ApiServer, policies: &Policies) {
        for policy in &policies.rules {
            let path = format!("{RESOURCES}ies/{}", policy.name_any());
            api.set(&path, serde_json::to_value(policy).unwrap());
        }
        for binding in &policies.bindings {
            let path = format!("{RESOURCES}ybindings/{}", binding.name_any());
            api.set(&path, serde_json::to_value(binding).unwrap());
        }
    }

    /// What could be made of one field of a policy's or binding's specification.
    const ALTERED: [(&str, &str, &str); 13] = [
        ("policies", "matchConstraints", "{}"),
        ("policies", "validations", r#"[{"expression": "true"}]"#),
        ("policies", "variables", r#"[{"name": "others", "expression": "[]"}]"#),
        ("policies", "failurePolicy", r#""Ignore""#),
        ("policies", "matchConditions", r#"[{"name": "never", "expression": "false"}]"#),
        ("policies", "paramKind", r#"{"apiVersion": "v1", "kind": "ConfigMap"}"#),
        ("policies", "auditAnnotations", r#"[{"key": "seen", "valueExpression": "'yes'"}]"#),
        ("policybindings", "policyName", r#""another""#),
        ("policybindings", "matchResources", r#"{"namespaceSelector": {"matchLabels": {"a": "b"}}}"#),
        ("policybindings", "validationActions", r#"["Warn"]"#),
        ("policybindings", "validationActions", r#"["Deny", "Audit"]"#),
        ("policybindings", "validationActions", "null"),
        ("policybindings", "paramRef", r#"{"name": "partner", "parameterNotFoundAction": "Allow"}"#),
    ];

    #[tokio::test]
    async fn each_policy_and_binding_must_stand_unaltered() {
        let policies = Policies::built_in().unwrap();
        let api = ApiServer::begin();
        stand(&api, &policies);
        assert_eq!(policies.look(&api.client()).await, PoliciesState::Unaltered);
        let paths: Vec<String> = api.log().iter().map(|line| line.replace("GET ", "")).collect();
        assert_eq!(paths.len(), 2 * policies.rules.len());
        for path in paths {
            let (kind, name) = path.rsplit_once('/').unwrap();
            let missed = async |how: &str| match policies.look(&api.client()).await {
                PoliciesState::Altered(it) => assert!(it.ends_with(&format!(" {name}")), "{it}: {how}"),
                PoliciesState::Unaltered => panic!("{path} counts as unaltered {how}"),
            };
            let whole = api.unset(&path).unwrap();
            missed("once it is missing").await;
            let of_its_kind: Vec<_> = ALTERED.iter().filter(|(ending, ..)| kind.ends_with(ending)).collect();
            assert!(of_its_kind.len() > 5, "{kind}");
            for (_, field, now) in of_its_kind {
                let mut altered = whole.clone();
                altered["spec"][field] = serde_json::from_str(now).unwrap();
                api.set(&path, altered);
                missed(&format!("with {field} {now}")).await;
            }
            api.set(&path, whole);
        }
        assert_eq!(policies.look(&api.client()).await, PoliciesState::Unaltered);
    }

    #[tokio::test]
    async fn a_crowd_looks_once() {
        let policies = Policies::built_in().unwrap();
        let api = ApiServer::begin();
        let client = api.client();
        let looks = (0..50).map(|_| policies.recent(&client));
        for state in futures_util::future::join_all(looks).await {
            assert_ne!(state, PoliciesState::Unaltered);
        }
        assert_eq!(api.log().len(), 1, "the first missing policy ends a look");
    }

    #[test]
    fn every_built_in_policy_is_bound_and_denies() {
        let policies = Policies::built_in().unwrap();
        assert_eq!(policies.rules.len(), 7);
        assert_eq!(policies.bindings.len(), policies.rules.len());
        for (policy, binding) in policies.rules.iter().zip(&policies.bindings) {
            let spec = binding.spec.as_ref().unwrap();
            assert_eq!(spec.policy_name, policy.metadata.name);
            assert_eq!(spec.validation_actions, Some(vec!["Deny".to_owned()]));
            assert_eq!(policy.spec.as_ref().unwrap().failure_policy.as_deref(), Some("Fail"));
        }
    }
}
