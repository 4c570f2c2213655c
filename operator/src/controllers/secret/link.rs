//! What a linked secret should say, as a pure rule.
//!
//! A link accepts the share that it finds and pins its UID. A share created anew under the name is another share: it
//! is accepted when `spec.link.shares[].uid` names it, or when the linked secret itself is made anew. A share that is not
//! for a namespace of this name looks like one that is missing. Beyond that the recipient learns which of its own service
//! accounts the share lists, unless it is meant for a namespace that bore the name before, whether it is for the link's
//! environment, and that it was stopped. Must never be added: anything else of the share.

use jiff::Timestamp;
use kube::ResourceExt;

use keylend_crds::{
    ConditionType, Reason, Secret, SecretShare, SecretStatus,
    condition::ConditionStatus,
    secret::{AcceptedShare, LinkedShare},
};

use crate::{
    controllers::apply::conditioned,
    revocation::{Stop, stop_of},
};

/// Why calls by one entry of the link are refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Complaint {
    CreatedAnew,
    OtherNamespace,
    Stopped,
    Expired,
    Missing,
    OtherEnvironment,
}

/// The namespace of the linked secret.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UID; empty once it is gone.
    pub uid: &'a str,
}

/// Decides what `secret`'s status becomes in the namespace `recipient`, given the share that each entry of its link names.
#[must_use]
pub fn plan(
    secret: &Secret,
    recipient: Recipient<'_>,
    found: &[(LinkedShare, Option<SecretShare>)],
    now: Timestamp,
) -> SecretStatus {
    let previous = secret.status.clone().unwrap_or_default();
    let mut shares = Vec::new();
    let mut complaints = Vec::new();
    for (link, share) in found {
        let share = share.as_ref().filter(|share| share.spec.recipient.namespace.name == recipient.name);
        let pin = secret.accepted(link);
        let complaint = complaint(link, pin, share, recipient.uid, now);
        let pin = if complaint.is_none_or(Complaint::is_of_the_accepted) {
            share.and_then(|share| accepted(link, share, pin, complaint))
        } else {
            pin.cloned()
        };
        shares.extend(pin.map(|pin| AcceptedShare { refused: complaint.is_some(), ..pin }));
        complaints.extend(complaint.map(|complaint| (complaint, spelled(link, share, complaint))));
    }
    let generation = secret.metadata.generation.unwrap_or(0);
    SecretStatus {
        observed_generation: Some(generation),
        conditions: conditioned(&previous.conditions, &[ready(&complaints)], generation, now),
        shares,
        ..SecretStatus::default()
    }
}

/// What is wrong with `share`, for the entry `link` that once accepted `pin`, in the namespace with this `uid`.
fn complaint(
    link: &LinkedShare,
    pin: Option<&AcceptedShare>,
    share: Option<&SecretShare>,
    uid: &str,
    now: Timestamp,
) -> Option<Complaint> {
    let Some(share) = share else { return Some(Complaint::Missing) };
    match link.uid.as_deref().or(pin.map(|pin| pin.uid.as_str())) {
        Some(accepted) if share.metadata.uid.as_deref() != Some(accepted) => {
            return Some(Complaint::CreatedAnew);
        }
        // A share that is going is not newly accepted: the next of its name would look changed.
        None if share.metadata.deletion_timestamp.is_some() => return Some(Complaint::Missing),
        Some(_) | None => {}
    }
    if share.recipient_namespace_uid().is_some_and(|meant| meant != uid) {
        return Some(Complaint::OtherNamespace);
    }
    // Replicas whose clocks differ would otherwise contradict each other.
    match stop_of(share, now).filter(|stop| stop.is_on_record(share)) {
        Some(Stop::Final) => Some(Complaint::Stopped),
        Some(Stop::Expired { .. }) => Some(Complaint::Expired),
        None => (share.spec.environment != link.environment).then_some(Complaint::OtherEnvironment),
    }
}

/// What is accepted of `share`. Whom it lists in a namespace that bore the name before is not told.
fn accepted(
    link: &LinkedShare,
    share: &SecretShare,
    pin: Option<&AcceptedShare>,
    complaint: Option<Complaint>,
) -> Option<AcceptedShare> {
    let service_accounts = if complaint == Some(Complaint::OtherNamespace) {
        pin.and_then(|pin| pin.service_accounts.clone())
    } else {
        share.spec.recipient.namespace.service_accounts.clone()
    };
    Some(AcceptedShare {
        environment: link.environment.clone(),
        share_ref: link.share_ref.clone(),
        uid: share.uid()?,
        service_accounts,
        refused: false,
    })
}

impl Complaint {
    /// The worst first.
    const ALL: [Self; 6] = [
        Self::CreatedAnew,
        Self::OtherNamespace,
        Self::Stopped,
        Self::Expired,
        Self::Missing,
        Self::OtherEnvironment,
    ];

    /// Whether it is about the share that the link stands for, rather than about its not being there.
    fn is_of_the_accepted(self) -> bool {
        !matches!(self, Self::CreatedAnew | Self::Missing)
    }

    /// The reason, what is wrong, and what to do.
    fn told(self) -> (Reason, &'static str, &'static str) {
        match self {
            Self::CreatedAnew => (
                Reason::RecipientChanged,
                "created anew since it was accepted",
                "to accept it set spec.link.shares[].uid to its uid, as 'kubectl keylend accept --uid' does",
            ),
            Self::OtherNamespace => (
                Reason::RecipientChanged,
                "the share is for another namespace of this name",
                "its owner confirms this one in spec.recipient.namespace.uid",
            ),
            Self::Stopped => (Reason::Stopped, "the share was stopped", "its owner makes a new one"),
            Self::Expired => (Reason::Expired, "the share has expired", "its owner makes a new one"),
            Self::Missing => (Reason::ShareMissing, "no share for this namespace", "its owner makes one"),
            Self::OtherEnvironment => (
                Reason::EnvironmentUnset,
                "the share is for another environment",
                "its owner makes one for this environment",
            ),
        }
    }
}

/// The worst names the reason; the message tells of every entry that is refused.
fn ready(complaints: &[(Complaint, String)]) -> (ConditionType, ConditionStatus, Reason, String) {
    let mut reason = None;
    let mut told = Vec::new();
    for complaint in Complaint::ALL {
        let of_it = complaints.iter().filter(|(one, _)| *one == complaint);
        let links: Vec<&str> = of_it.map(|(_, link)| link.as_str()).collect();
        if !links.is_empty() {
            let (its_reason, what, to_do) = complaint.told();
            reason.get_or_insert(its_reason);
            told.push(format!("{what}: {}; {to_do}", links.join(", ")));
        }
    }
    let Some(reason) = reason else {
        let message = "every share is there and accepted".to_owned();
        return (ConditionType::Ready, ConditionStatus::True, Reason::Linked, message);
    };
    (ConditionType::Ready, ConditionStatus::False, reason, told.join("; "))
}

/// What the recipient wrote, and the UID that they would have to.
fn spelled(link: &LinkedShare, share: Option<&SecretShare>, complaint: Complaint) -> String {
    let reference = &link.share_ref;
    let spelled =
        format!("spec.link.shares[{}] {}/{}", link.environment, reference.namespace, reference.name);
    match share.and_then(ResourceExt::uid) {
        Some(uid) if complaint == Complaint::CreatedAnew => format!("{spelled} (uid {uid})"),
        Some(_) | None => spelled,
    }
}

#[cfg(test)]
mod tests;
