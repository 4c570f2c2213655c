//! What controllers tell: rows of the audit log, and events for whoever describes an object.
//!
//! Both are told in the background, once the API server has what they tell of: nothing waits for them, least of all a
//! stop. What could not be told is logged, and counted by the audit log. Must never be added: a value, a blob, or anything
//! of an object that whoever may read its namespace's events may not know.

use std::fmt::Debug;

use keylend_crds::{Condition, ConditionType, Reason, condition::ConditionStatus};
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::apply::FIELD_MANAGER;
use crate::{
    audit::{AuditLog, row},
    fault::with_causes,
};

/// The longest note of an event, in bytes: the API server's bound.
const MAX_NOTE_BYTES: usize = 1024;

/// Tells. Clones tell the same; a kind of event that comes again within minutes is counted, not written anew.
#[derive(Clone)]
pub struct Teller {
    audit: AuditLog,
    recorder: Recorder,
}

/// Something that happened to an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// Whether somebody should look.
    pub type_: EventType,
    /// Why, in one word.
    pub reason: Reason,
    /// What happened, and what to do.
    pub note: String,
}

impl Teller {
    /// Tells `audit`, and as `replica` through `client`.
    #[must_use]
    pub fn new(client: &Client, audit: AuditLog, replica: &str) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(replica.to_owned()) };
        Self { audit, recorder: Recorder::new(client.clone(), reporter) }
    }

    /// The audit log, for what must be on record first.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Puts a change on record that stands whether or not there is room for its row.
    pub fn record(&self, row: row::Write) {
        let audit = self.audit.clone();
        tokio::spawn(async move {
            let (change, name) = (row.change, row.object.name.clone());
            if let Err(error) = audit.write(row).await {
                tracing::error!(
                    error = with_causes(&error),
                    ?change,
                    name = name.as_str(),
                    "a change stands but is not on record"
                );
            }
        });
    }

    /// Writes an event about `object`.
    pub fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, news: News) {
        let (recorder, reference) = (self.recorder.clone(), object.object_ref(&()));
        let News { type_, reason, mut note } = news;
        note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES));
        let event = Event {
            type_,
            reason: format!("{reason:?}"),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &reference).await {
                // A namespace that is going takes no more events.
                tracing::info!(
                    error = with_causes(&error),
                    name = reference.name,
                    reason = event.reason,
                    "an event was not written"
                );
            }
        });
    }

    /// Writes an event for each condition that has come to say that something is wrong.
    pub fn warn<K: Resource<DynamicType = ()>>(&self, object: &K, before: &[Condition], after: &[Condition]) {
        for condition in worries(before, after) {
            let (reason, note) = (condition.reason, condition.message.clone());
            self.tell(object, News { type_: EventType::Warning, reason, note });
        }
    }
}

/// An object as rows name it.
#[must_use]
pub fn named<K: Resource<DynamicType = ()>>(kind: &'static str, object: &K) -> row::Object {
    let metadata = object.meta();
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    row::Object {
        kind,
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
        uid: text(&metadata.uid),
    }
}

/// The conditions that say something is wrong, and did not say so before.
fn worries<'a>(before: &'a [Condition], after: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    let said = |condition: &Condition| {
        before.iter().any(|old| {
            (old.type_, old.status, old.reason, &old.message)
                == (condition.type_, condition.status, condition.reason, &condition.message)
        })
    };
    after.iter().filter(|condition| is_wrong(condition)).filter(move |condition| !said(condition))
}

/// A stop is no fault, nor is a secret that waits for its first value.
fn is_wrong(condition: &Condition) -> bool {
    let expected =
        matches!(condition.reason, Reason::NoValue | Reason::Stopping | Reason::Stopped | Reason::Expired);
    match condition.type_ {
        ConditionType::Ready => condition.status == ConditionStatus::False && !expected,
        ConditionType::SourceStale => condition.status == ConditionStatus::True,
        ConditionType::Accepted | ConditionType::Revoked => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
