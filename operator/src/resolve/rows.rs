//! What the audit log is told of a resolve. Pure; a value never comes near.

use keylend_contract::{
    refusal::Refusal,
    wire::{Ask, Target},
};

use super::{
    caller::{Caller, CallerClaims},
    grant::Grant,
    unseal::AlteredEnvelope,
};
use crate::audit::{Path, row};

/// The use that `grant` is about to become.
#[must_use]
pub fn intent(caller: &Caller, ask: &Ask, grant: &Grant) -> row::Intent {
    let lent = grant.holds().iter().map(|hold| row::LentSecret {
        name: hold.name().into(),
        owner_namespace: hold.binding().namespace.as_str().into(),
        share_uid: hold.share_uid().into(),
    });
    row::Intent {
        call: call(ask),
        caller: who(caller.claims()),
        route: grant.route().into(),
        environment: grant.environment().into(),
        secrets: lent.collect(),
        destination: row::Destination {
            host: grant.destination().host().as_str().into(),
            port: grant.destination().port(),
        },
        method: ask.method.as_str().into(),
        path: Path::of(&ask.path),
    }
}

/// A call that was refused.
#[must_use]
pub fn refusal(caller: &Caller, ask: &Ask, refusal: &Refusal) -> row::Refusal {
    let Target::Route(route) = &ask.target;
    row::Refusal {
        code: refusal.code(),
        call: Some(call(ask)),
        caller: Some(who(caller.claims())),
        route: Some(route.as_str().into()),
        environment: None,
        secrets: Vec::new(),
        destination: None,
        method: Some(ask.method.as_str().into()),
        path: Some(Path::of(&ask.path)),
    }
}

/// An enrolment that was refused. Nobody proved who it is, so all of them share one budget.
#[must_use]
pub fn enrolment_refused(refusal: &Refusal) -> row::Refusal {
    row::Refusal {
        code: refusal.code(),
        call: None,
        caller: None,
        route: None,
        environment: None,
        secrets: Vec::new(),
        destination: None,
        method: None,
        path: None,
    }
}

/// An envelope that is not what was sealed under its name.
#[must_use]
pub fn altered(caller: &Caller, envelope: &AlteredEnvelope) -> row::Alarm {
    row::Alarm {
        concern: row::Concern::IntegrityFailed,
        caller: Some(who(caller.claims())),
        object: Some(row::Object {
            kind: "Secret",
            namespace: envelope.namespace.as_str().into(),
            name: envelope.name.as_str().into(),
            uid: envelope.uid.as_str().into(),
        }),
    }
}

fn call(ask: &Ask) -> row::CallIds {
    row::CallIds {
        call_id: ask.call.0.to_string().as_str().into(),
        trace_id: ask.trace.trace_id.as_str().into(),
        span_id: ask.trace.span_id.as_str().into(),
    }
}

/// The pod that a container's claims name.
#[must_use]
pub fn who(claims: &CallerClaims) -> row::Caller {
    row::Caller {
        namespace: claims.namespace.as_str().into(),
        namespace_uid: claims.namespace_uid.as_str().into(),
        pod: claims.pod.as_str().into(),
        pod_uid: claims.pod_uid.as_str().into(),
        service_account: claims.service_account.as_str().into(),
    }
}
