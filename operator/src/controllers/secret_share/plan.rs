//! What a share needs next, as a pure function of the share, what it names, and how far its stop has come.
//!
//! One write at a time: each brings a new object, which is looked at again.

use std::time::Duration;

use jiff::Timestamp;
use keylend_crds::{
    ConditionType, Reason, STOP_FINALIZER, Secret, SecretShare, SecretShareStatus,
    condition::ConditionStatus, secret::SecretType,
};

use crate::{
    controllers::apply::{conditioned, has_finalizer},
    resolve::policy::{Policy, expiry},
    revocation::Stop,
};

/// How soon a share is looked at again for nothing that a watch would tell: the expiry has its own time.
const SETTLED: Duration = Duration::from_mins(1);
/// The same while something it needs is missing: the watch that tells of it may be ahead of the store that shows it.
const UNSETTLED: Duration = Duration::from_secs(5);

/// What a share names, as far as it is there.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The secret of `spec.secretRef`.
    pub secret: Option<&'a Secret>,
    /// The recipient namespace's UID.
    pub namespace_uid: Option<&'a str>,
    /// A linked secret of the recipient names this share and has pinned it.
    pub accepted: bool,
}

/// How far a stop has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is none.
    NotStopped,
    /// The share has ended by this replica's clock, and nobody has written that down yet.
    Unrecorded(Stop),
    /// What was granted before may still be open for so long.
    Waiting(Duration),
    /// Nothing that was granted before can be open.
    Complete(Stop),
}

/// What is done next, and when the share is looked at again if nothing changes.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The one write.
    pub step: Step,
    /// When to look again.
    pub again: Duration,
}

/// One write.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// So that a later stop can wait.
    AddFinalizer,
    /// The stop is complete: the share may go.
    DropFinalizer,
    /// Pins and conditions; nothing is sent if they stand so already.
    Status(Box<SecretShareStatus>),
    /// Nothing is left to do.
    Nothing,
}

type Finding = (ConditionType, ConditionStatus, Reason, String);

/// Decides what `share` needs next.
#[must_use]
pub fn plan(share: &SecretShare, view: &View<'_>, progress: Progress, now: Timestamp) -> Plan {
    match progress {
        Progress::NotStopped => active(share, view, now),
        Progress::Unrecorded(_) => {
            Plan { step: status(share, stopping(), now), again: Duration::from_millis(100) }
        }
        Progress::Waiting(wait) => Plan { step: status(share, stopping(), now), again: wait },
        Progress::Complete(_) if share.metadata.deletion_timestamp.is_some() => {
            let held = has_finalizer(share, STOP_FINALIZER);
            Plan { step: if held { Step::DropFinalizer } else { Step::Nothing }, again: SETTLED }
        }
        Progress::Complete(stop) => Plan { step: status(share, stopped(stop), now), again: SETTLED },
    }
}

impl Step {
    /// Whether this write is the one that says the stop of `share` is complete.
    #[must_use]
    pub fn completes(&self, share: &SecretShare) -> bool {
        match self {
            Self::DropFinalizer => !shows_revoked(share.status.as_ref()),
            Self::Status(status) => shows_revoked(Some(status)) && !shows_revoked(share.status.as_ref()),
            Self::AddFinalizer | Self::Nothing => false,
        }
    }
}

fn shows_revoked(status: Option<&SecretShareStatus>) -> bool {
    status.is_some_and(|status| {
        status
            .conditions
            .iter()
            .any(|one| one.type_ == ConditionType::Revoked && one.status == ConditionStatus::True)
    })
}

fn active(share: &SecretShare, view: &View<'_>, now: Timestamp) -> Plan {
    if !has_finalizer(share, STOP_FINALIZER) {
        return Plan { step: Step::AddFinalizer, again: UNSETTLED };
    }
    let pins = pins(share, view);
    let ready = ready(share, view, &pins);
    let accepted = accepted(share, view, &pins);
    let not_stopped = (
        ConditionType::Revoked,
        ConditionStatus::False,
        Reason::NotStopped,
        "the share is not stopped".to_owned(),
    );
    let settled = ready.1 == ConditionStatus::True && accepted.1 == ConditionStatus::True;
    let ends = expiry(&share.spec).ok().flatten();
    let left = ends.and_then(|ends| Duration::try_from(ends.duration_since(now)).ok());
    let again = left.unwrap_or(SETTLED).min(if settled { SETTLED } else { UNSETTLED });
    Plan { step: written(share, pins, &[ready, accepted, not_stopped], now), again }
}

/// The pins, once and for good: the secret's at first sight, the recipient namespace's at first acceptance.
fn pins(share: &SecretShare, view: &View<'_>) -> SecretShareStatus {
    let mut status = share.status.clone().unwrap_or_default();
    if status.secret_uid.is_none() {
        status.secret_uid =
            view.secret.filter(|secret| lendable(secret)).and_then(|secret| secret.metadata.uid.clone());
    }
    let unpinned = share.spec.recipient.namespace.uid.is_none() && status.recipient_namespace_uid.is_none();
    if unpinned && view.accepted {
        status.recipient_namespace_uid = view.namespace_uid.map(ToOwned::to_owned);
    }
    status
}

fn lendable(secret: &Secret) -> bool {
    secret.spec.type_ == SecretType::String && secret.metadata.deletion_timestamp.is_none()
}

fn ready(share: &SecretShare, view: &View<'_>, pins: &SecretShareStatus) -> Finding {
    let name = &share.spec.secret_ref.name;
    let no = |reason, message| (ConditionType::Ready, ConditionStatus::False, reason, message);
    if let Some(error) = Policy::parse(&share.spec.use_policy).err().or_else(|| expiry(&share.spec).err()) {
        return no(Reason::PolicyInvalid, error.to_string());
    }
    let Some(secret) = view.secret.filter(|secret| lendable(secret)) else {
        let message = format!(
            "spec.secretRef.name: there is no Secret '{name}' of type String in this namespace; create it"
        );
        return no(Reason::SecretMissing, message);
    };
    if secret.metadata.uid != pins.secret_uid {
        let message = format!(
            "spec.secretRef.name: Secret '{name}' was created anew since it was shared; make a new SecretShare"
        );
        return no(Reason::RecipientChanged, message);
    }
    if let Some(message) = namespace_changed(share, view, pins) {
        return no(Reason::RecipientChanged, message);
    }
    if secret.live(&share.spec.environment).is_none() {
        let environment = &share.spec.environment;
        let message = format!(
            "spec.environment: Secret '{name}' has no live value for environment '{environment}'; give it one with 'kubectl keylend put'"
        );
        return no(Reason::EnvironmentUnset, message);
    }
    (ConditionType::Ready, ConditionStatus::True, Reason::Active, "the share may be used".to_owned())
}

fn accepted(share: &SecretShare, view: &View<'_>, pins: &SecretShareStatus) -> Finding {
    let type_ = ConditionType::Accepted;
    if let Some(message) = namespace_changed(share, view, pins) {
        return (type_, ConditionStatus::False, Reason::RecipientChanged, message);
    }
    if view.accepted {
        let message = "a linked Secret of the recipient stands for this share".to_owned();
        return (type_, ConditionStatus::True, Reason::LinkedSecretFound, message);
    }
    let message = format!(
        "no linked Secret of namespace '{}' stands for this share yet; the recipient makes one with 'kubectl keylend accept'",
        share.spec.recipient.namespace.name
    );
    (type_, ConditionStatus::False, Reason::AwaitingRecipient, message)
}

/// What to tell the owner if the namespace is another one of the same name.
fn namespace_changed(share: &SecretShare, view: &View<'_>, pins: &SecretShareStatus) -> Option<String> {
    let recipient = &share.spec.recipient.namespace;
    let expected = recipient.uid.as_deref().or(pins.recipient_namespace_uid.as_deref())?;
    let found = view.namespace_uid.filter(|found| *found != expected)?;
    Some(format!(
        "spec.recipient.namespace.uid: namespace '{}' was created anew; to share with the new one, set this field to {found}",
        recipient.name
    ))
}

fn stopping() -> [(ConditionStatus, Reason, &'static str); 2] {
    [
        (ConditionStatus::False, Reason::Stopping, "the share is being stopped; nothing more is granted"),
        (ConditionStatus::False, Reason::Stopping, "what was granted before the stop is running out"),
    ]
}

fn stopped(stop: Stop) -> [(ConditionStatus, Reason, &'static str); 2] {
    let (reason, why) = match stop {
        Stop::Final => (Reason::Stopped, "the share was stopped; make a new SecretShare to share again"),
        Stop::Expired { .. } => (Reason::Expired, "spec.expiresAt has passed"),
    };
    [
        (ConditionStatus::False, reason, why),
        (ConditionStatus::True, reason, "nothing that was granted under this share can still be open"),
    ]
}

/// The status of a share that was stopped: Ready and Revoked; Accepted stays what it was.
fn status(
    share: &SecretShare,
    [ready, revoked]: [(ConditionStatus, Reason, &'static str); 2],
    now: Timestamp,
) -> Step {
    let previous = share.status.clone().unwrap_or_default();
    let finding =
        |type_, (status, reason, message): (_, _, &str)| (type_, status, reason, message.to_owned());
    let accepted = previous.conditions.iter().find(|one| one.type_ == ConditionType::Accepted);
    let accepted = accepted.map(|one| (one.type_, one.status, one.reason, one.message.clone()));
    let findings: Vec<Finding> = [finding(ConditionType::Ready, ready)]
        .into_iter()
        .chain(accepted)
        .chain([finding(ConditionType::Revoked, revoked)])
        .collect();
    written(share, previous, &findings, now)
}

fn written(share: &SecretShare, pins: SecretShareStatus, findings: &[Finding], now: Timestamp) -> Step {
    let generation = share.metadata.generation.unwrap_or_default();
    Step::Status(Box::new(SecretShareStatus {
        observed_generation: Some(generation),
        conditions: conditioned(&pins.conditions, findings, generation, now),
        ..pins
    }))
}

#[cfg(test)]
mod tests;
