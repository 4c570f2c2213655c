//! What a linked secret should say, as a pure rule.
//!
//! A link accepts the share that it finds and pins its UID. A share created anew under the name is another share: it
//! is accepted when `spec.link.shares[].uid` names it, or when the linked secret itself is made anew. A share that is not
//! for this namespace looks like one that is missing. Beyond that the recipient learns which of its own service accounts
//! the share lists, and whether it is for the link's environment. Must never be added: anything else of the share.

use jiff::Timestamp;
use kube::ResourceExt as _;

use keylend_crds::{
    ConditionType, Reason, Secret, SecretShare, SecretStatus,
    condition::ConditionStatus,
    secret::{AcceptedShare, LinkedShare},
};

use crate::controllers::apply::conditioned;

/// How one entry of the link stands.
enum Standing {
    /// This share, pinned.
    Accepted(AcceptedShare),
    /// No such share for this namespace; the pin that there was.
    Missing(Option<AcceptedShare>),
    /// Another share than the accepted one; the pin that there was, and the UID found.
    Changed(Option<AcceptedShare>, String),
}

/// Decides what `secret`'s status becomes, given the share that each entry of its link names.
#[must_use]
pub fn plan(secret: &Secret, found: &[(LinkedShare, Option<SecretShare>)], now: Timestamp) -> SecretStatus {
    let previous = secret.status.clone().unwrap_or_default();
    let namespace = secret.namespace().unwrap_or_default();
    let mut shares = Vec::new();
    let (mut missing, mut changed, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    for (link, share) in found {
        match standing(link, secret.accepted(link), share.as_ref(), &namespace) {
            Standing::Accepted(pin) => {
                if pin.refused {
                    elsewhere.push(spelled(link));
                }
                shares.push(pin);
            }
            Standing::Missing(pin) => {
                shares.extend(pin.map(refused));
                missing.push(spelled(link));
            }
            Standing::Changed(pin, uid) => {
                shares.extend(pin.map(refused));
                changed.push(format!("{} (uid {uid})", spelled(link)));
            }
        }
    }
    let generation = secret.metadata.generation.unwrap_or(0);
    let ready = ready(&missing, &changed, &elsewhere);
    SecretStatus {
        observed_generation: Some(generation),
        conditions: conditioned(&previous.conditions, &[ready], generation, now),
        shares,
        ..SecretStatus::default()
    }
}

fn standing(
    link: &LinkedShare,
    pin: Option<&AcceptedShare>,
    share: Option<&SecretShare>,
    namespace: &str,
) -> Standing {
    let pinned = || pin.cloned();
    let Some(share) = share.filter(|share| share.spec.recipient.namespace.name == namespace) else {
        return Standing::Missing(pinned());
    };
    let Some(uid) = share.uid() else { return Standing::Missing(pinned()) };
    let accepted = link.uid.as_ref().or(pin.map(|pin| &pin.uid));
    match accepted {
        Some(accepted) if *accepted != uid => Standing::Changed(pinned(), uid),
        // A share that is going is not newly accepted: the next of its name would look changed.
        None if share.metadata.deletion_timestamp.is_some() => Standing::Missing(None),
        Some(_) | None => Standing::Accepted(AcceptedShare {
            environment: link.environment.clone(),
            share_ref: link.share_ref.clone(),
            uid,
            service_accounts: share.spec.recipient.namespace.service_accounts.clone(),
            refused: share.spec.environment != link.environment,
        }),
    }
}

/// The worst names the reason; the message tells of every environment that is refused.
fn ready(
    missing: &[String],
    changed: &[String],
    elsewhere: &[String],
) -> (ConditionType, ConditionStatus, Reason, String) {
    let findings = [
        (
            Reason::RecipientChanged,
            changed,
            "created anew since it was accepted",
            "to accept it set spec.link.shares[].uid to its uid",
        ),
        (Reason::ShareMissing, missing, "no share for this namespace", "its owner makes one"),
        (
            Reason::EnvironmentUnset,
            elsewhere,
            "the share is for another environment",
            "its owner makes one for this environment",
        ),
    ];
    let found: Vec<_> = findings.iter().filter(|(_, links, ..)| !links.is_empty()).collect();
    let told = found.iter().map(|(_, links, what, to_do)| format!("{what}: {}; {to_do}", links.join(", ")));
    let told: Vec<String> = told.collect();
    let Some((reason, ..)) = found.first() else {
        let message = "every share is there and accepted".to_owned();
        return (ConditionType::Ready, ConditionStatus::True, Reason::Linked, message);
    };
    (ConditionType::Ready, ConditionStatus::False, *reason, told.join("; "))
}

fn refused(pin: AcceptedShare) -> AcceptedShare {
    AcceptedShare { refused: true, ..pin }
}

/// Only what the recipient wrote.
fn spelled(link: &LinkedShare) -> String {
    format!("spec.link.shares[{}] {}/{}", link.environment, link.share_ref.namespace, link.share_ref.name)
}

#[cfg(test)]
mod tests;
