//! One link of the chain, and what it says of a call in one environment. Pure.

use std::fmt::Write as _;

use keylend_contract::refusal::Refusal;
use keylend_crds::{
    Condition, Route, Secret, SecretShare,
    condition::{ConditionStatus, ConditionType},
    secret::LinkedShare,
};
use kube::{ResourceExt as _, core::ObjectMeta};

/// One link of the chain.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) object: String,
    pub(super) standing: Standing,
    pub(super) message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Permits,
    Refuses,
    Hidden,
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Permits => "permits",
            Self::Refuses => "refuses",
            Self::Hidden => "hidden",
        }
    }
}

impl Link {
    pub(super) fn refusing(object: String, message: &str) -> Self {
        Self { object, standing: Standing::Refuses, message: message.to_owned() }
    }

    pub(super) fn hidden(object: String, message: &str) -> Self {
        Self { object, standing: Standing::Hidden, message: message.to_owned() }
    }

    pub(super) fn route(route: &Route) -> Self {
        let conditions = route.status.as_ref().map(|status| &status.conditions);
        Self::ready(format!("route {}", route.name_any()), &route.metadata, conditions)
    }

    /// What `object` says of itself as a whole, unless it is on its way out.
    fn ready(object: String, metadata: &ObjectMeta, conditions: Option<&Vec<Condition>>) -> Self {
        if is_going(metadata) {
            return Self::refusing(object, "it is being deleted");
        }
        let ready = conditions.into_iter().flatten().find(|one| one.type_ == ConditionType::Ready);
        let Some(ready) = ready else {
            return Self::refusing(object, "the operator has not looked at it yet; is it running?");
        };
        let standing =
            if ready.status == ConditionStatus::True { Standing::Permits } else { Standing::Refuses };
        Self { object, standing, message: format!("{:?}: {}", ready.reason, ready.message) }
    }

    /// The recipient's secret, for the environment of `link`: what its other environments lack refuses nothing here.
    pub(super) fn linked(object: String, secret: &Secret, link: &LinkedShare) -> Self {
        let ready = Self::of_secret(object, secret);
        match secret.accepted(link).filter(|_| !is_going(&secret.metadata)) {
            Some(accepted) if !accepted.refused => ready.but_here(&link.environment),
            None if ready.standing == Standing::Permits => {
                Self::refusing(ready.object, "the operator has not accepted the share yet; is it running?")
            }
            Some(_) | None => ready,
        }
    }

    /// The share, and whether it lists what the route asks of it.
    pub(super) fn share(object: String, listed: Result<(), Refusal>, share: &SecretShare) -> Self {
        let ready =
            Self::ready(object, &share.metadata, share.status.as_ref().map(|status| &status.conditions));
        match listed {
            Err(refusal) if ready.standing == Standing::Permits => {
                Self::refusing(ready.object, &format!("{}: {refusal}", refusal.code()))
            }
            Ok(()) | Err(_) => ready,
        }
    }

    /// The owner's secret, for `environment`: its live value serves unless the key is gone, whatever else is lacking.
    pub(super) fn value(object: String, secret: &Secret, environment: &str) -> Self {
        let ready = Self::of_secret(object, secret);
        match secret.live(environment).filter(|_| !is_going(&secret.metadata)) {
            Some(live) if live.key_sealed => {
                let message = format!(
                    "key_sealed: the key '{}' of the value for environment '{environment}' is disabled or gone; enable it again",
                    live.key.as_deref().unwrap_or_default()
                );
                Self::refusing(ready.object, &message)
            }
            Some(_) => ready.but_here(environment),
            None if ready.standing == Standing::Permits => {
                Self::refusing(ready.object, &format!("it has no live value for environment '{environment}'"))
            }
            None => ready,
        }
    }

    fn of_secret(object: String, secret: &Secret) -> Self {
        Self::ready(object, &secret.metadata, secret.status.as_ref().map(|status| &status.conditions))
    }

    /// What the object lacks refuses nothing in `environment`.
    fn but_here(self, environment: &str) -> Self {
        if self.standing != Standing::Refuses {
            return self;
        }
        let message = format!("calls in environment '{environment}' are not refused; {}", self.message);
        Self { standing: Standing::Permits, message, ..self }
    }

    /// Says whose pods the share is for, unless it refuses all; all of the namespace where none are listed.
    pub(super) fn for_accounts(mut self, listed: Option<&[String]>) -> Self {
        if let Some(listed) = listed.filter(|_| self.standing != Standing::Refuses) {
            let _ = write!(self.message, "; for the service accounts {}", listed.join(", "));
        }
        self
    }
}

fn is_going(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SHARE: &str = "payments/partner";

    fn secret(mut object: Value, reason: &str) -> Secret {
        let status = if ["Live", "Linked"].contains(&reason) { "True" } else { "False" };
        object["apiVersion"] = json!("keylend.dev/v1alpha1");
        object["kind"] = json!("Secret");
        object["metadata"] = json!({"name": "a"});
        object["status"]["conditions"] = json!([{
            "type": "Ready", "status": status, "reason": reason, "message": "kl-test-message",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        serde_json::from_value(object).unwrap()
    }

    fn said(link: &Link) -> (&'static str, bool) {
        (link.standing.word(), link.message.contains("kl-test-message"))
    }

    #[test]
    fn a_link_refuses_for_what_its_own_environment_lacks_alone() {
        let reference = json!({"namespace": "payments", "name": "partner"});
        let accepted = |environment: &str, refused: bool| {
            json!({
                "environment": environment, "shareRef": reference, "uid": "one", "refused": refused,
            })
        };
        // (reason of Ready, what was accepted, standing)
        let table = [
            ("Linked", vec![accepted("production", false)], "permits"),
            ("Linked", vec![], "refuses"),
            ("ShareMissing", vec![], "refuses"),
            ("ShareMissing", vec![accepted("staging", false)], "refuses"),
            ("ShareMissing", vec![accepted("production", true)], "refuses"),
            ("ShareMissing", vec![accepted("production", false)], "permits"),
            ("RecipientChanged", vec![accepted("staging", true), accepted("production", false)], "permits"),
        ];
        let link = json!({"environment": "production", "shareRef": reference});
        for (reason, shares, standing) in table {
            let object = json!({
                "spec": {"type": "Linked", "link": {"shares": [link]}}, "status": {"shares": shares},
            });
            let linked: LinkedShare = serde_json::from_value(link.clone()).unwrap();
            let link = Link::linked("secret a".to_owned(), &secret(object, reason), &linked);
            let said_so = reason != "Linked" || standing == "permits";
            assert_eq!(said(&link), (standing, said_so), "{reason} {shares:?}");
        }
    }

    #[test]
    fn a_live_value_serves_unless_its_key_is_gone() {
        let live = |environment: &str, sealed: bool| {
            json!({"name": environment, "fields": [{
                "name": "value", "version": 1, "wrapGeneration": 1, "key": "kl-test-key", "keySealed": sealed,
                "updatedAt": "2026-01-01T00:00:00Z", "sealedAtMs": 1, "digests": [],
            }]})
        };
        // (reason of Ready, environments with a live value, standing, what Ready says is repeated)
        let table = [
            ("Live", vec![live("production", false)], ("permits", true)),
            ("Live", vec![live("staging", false)], ("refuses", false)),
            ("NoValue", vec![], ("refuses", true)),
            ("BlobRefused", vec![live("production", false)], ("permits", true)),
            ("BlobRefused", vec![live("staging", false)], ("refuses", true)),
            ("KeySealed", vec![live("production", true)], ("refuses", false)),
            ("KeySealed", vec![live("production", false), live("staging", true)], ("permits", true)),
        ];
        for (reason, environments, expected) in table {
            let specified = json!([{"name": "production"}, {"name": "staging"}]);
            let object = json!({
                "spec": {"type": "String", "environments": specified}, "status": {"environments": environments},
            });
            let link = Link::value("secret payments/a".to_owned(), &secret(object, reason), "production");
            assert_eq!(said(&link), expected, "{reason} {environments:?}");
            let named = link.message.starts_with("key_sealed: the key 'kl-test-key'");
            assert_eq!(named, expected == ("refuses", false) && reason == "KeySealed", "{}", link.message);
        }
    }

    #[test]
    fn what_is_being_deleted_refuses_whatever_it_says() {
        let share =
            json!({"environment": "production", "shareRef": {"namespace": "b", "name": "c"}, "uid": "one"});
        let live = json!({"name": "production", "fields": [{
            "name": "value", "version": 1, "wrapGeneration": 1, "updatedAt": "", "sealedAtMs": 1, "digests": [],
        }]});
        let object = json!({
            "spec": {"type": "String", "environments": [{"name": "production"}]},
            "status": {"environments": [live], "shares": [share]},
        });
        let mut secret = secret(object, "Live");
        let link: LinkedShare = serde_json::from_value(share).unwrap();
        let mut route: Route = serde_json::from_value(json!({
            "apiVersion": "keylend.dev/v1alpha1", "kind": "Route", "metadata": {"name": "a"},
            "spec": {"upstream": "https://api.example.com", "environment": "production", "headers": []},
            "status": {"conditions": secret.status.as_ref().unwrap().conditions},
        }))
        .unwrap();
        for standing in ["permits", "refuses"] {
            let links = [
                Link::route(&route),
                Link::linked("b".to_owned(), &secret, &link),
                Link::value("c".to_owned(), &secret, "production"),
            ];
            for link in links {
                assert_eq!(said(&link), (standing, standing == "permits"), "{}", link.message);
            }
            secret.metadata.deletion_timestamp =
                serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
            route.metadata.deletion_timestamp = secret.metadata.deletion_timestamp.clone();
        }
    }

    #[test]
    fn for_whom_a_share_is_stands_beside_it_unless_it_refuses_all() {
        let accounts = ["checkout".to_owned()];
        let hidden = || Link::hidden(SHARE.to_owned(), "hidden");
        for (link, listed, beside) in [
            (hidden(), Some(&accounts[..]), true),
            (hidden(), None, false),
            (Link::refusing(SHARE.to_owned(), "gone"), Some(&accounts[..]), false),
        ] {
            let message = link.for_accounts(listed).message;
            assert_eq!(message.ends_with("; for the service accounts checkout"), beside, "{message}");
        }
    }
}
