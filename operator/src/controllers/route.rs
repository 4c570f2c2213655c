//! Says whether a route is complete: its fields, the linked secrets it names, and the guards of injected pods.
//!
//! Looks at the route's own namespace only, so it cannot tell a recipient anything about an owner. Decides nothing about
//! calls; [`crate::resolve`] does.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use keylend_contract::name::SecretName;
use keylend_crds::{ConditionType, Reason, Route, RouteStatus, Secret, condition::ConditionStatus};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        Controller,
        controller::Action,
        reflector::{ObjectRef, Store, store::WriterDropped},
    },
};
use tokio::sync::watch as channel;

use super::{
    apply::{Outcome, conditioned, patch_status},
    watch,
};
use crate::{policies::Guards, resolve::wish::ParsedRoute, world::Watched};

const SETTLED: Duration = Duration::from_mins(1);
const UNSETTLED: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);

/// What the controller works with.
pub struct Context {
    /// Writes statuses.
    pub client: Client,
    /// What the watches have seen.
    pub watched: Watched,
    /// The state of the guards now.
    pub guards: channel::Receiver<Guards>,
}

/// Why a route could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server.
    #[error("writing a route's status")]
    Api(#[from] kube::Error),
    /// The process is about to end.
    #[error("waiting for the watches")]
    Watches(#[from] WriterDropped),
}

/// The controller before it runs, so that its store can be shared. All routes are looked at again when `guards` change.
#[must_use]
pub fn controller(client: &Client, guards: channel::Receiver<Guards>) -> Controller<Route> {
    let controller = watch::controller::<Route>(client);
    let routes = controller.store();
    controller
        .watches(Api::<DeserializeGuard<Secret>>::all(client.clone()), watch::config(), move |secret| {
            concerned(&routes, secret.meta().namespace.as_deref())
        })
        .reconcile_all_on(watch::changes(guards))
}

/// Runs until the process ends.
pub async fn run(controller: Controller<Route>, context: Arc<Context>) {
    watch::run(controller, reconcile, AGAIN, context).await;
}

/// The routes of a secret's namespace: few, and a name may be spelled in several ways.
fn concerned(routes: &Store<Route>, namespace: Option<&str>) -> Vec<ObjectRef<Route>> {
    let same = |route: &Route| route.metadata.namespace.as_deref() == namespace;
    routes.state_filter(same).iter().map(|route| ObjectRef::from_obj(&**route)).collect()
}

async fn reconcile(route: Arc<Route>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let world = context.watched.synced().await?;
    let namespace = route.namespace().unwrap_or_default();
    let guards = *context.guards.borrow();
    let status = plan(&route, |name| world.secret(&namespace, name.as_str()), guards, Timestamp::now());
    let complete = status.conditions.iter().all(|condition| condition.status == ConditionStatus::True);
    let status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    let api: Api<Route> = Api::namespaced(context.client.clone(), &namespace);
    Ok(Action::requeue(match patch_status(&api, &*route, status).await? {
        Outcome::Conflict => AGAIN,
        Outcome::Written | Outcome::Unchanged if complete => SETTLED,
        Outcome::Written | Outcome::Unchanged => UNSETTLED,
    }))
}

/// The status of `route` as its namespace and the guards are now.
#[must_use]
pub fn plan(
    route: &Route,
    secret_named: impl Fn(&SecretName) -> Option<Arc<Secret>>,
    guards: Guards,
    now: Timestamp,
) -> RouteStatus {
    let (status, reason, message) = match finding(route, secret_named, guards) {
        None => (ConditionStatus::True, Reason::Complete, "the route is complete".to_owned()),
        Some((reason, message)) => (ConditionStatus::False, reason, message),
    };
    let generation = route.metadata.generation.unwrap_or_default();
    let previous = route.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    let finding = [(ConditionType::Ready, status, reason, message)];
    RouteStatus {
        observed_generation: Some(generation),
        conditions: conditioned(previous, &finding, generation, now),
    }
}

fn finding(
    route: &Route,
    secret_named: impl Fn(&SecretName) -> Option<Arc<Secret>>,
    guards: Guards,
) -> Option<(Reason, String)> {
    let parsed = match ParsedRoute::parse(&route.spec) {
        Ok(parsed) => parsed,
        Err(error) => return Some((Reason::FieldInvalid, error.to_string())),
    };
    for name in &parsed.secrets {
        let written = name.written();
        let Some(link) = secret_named(name).and_then(|secret| secret.spec.link.clone()) else {
            let message = format!(
                "spec.headers: there is no linked Secret '{written}' in this namespace; make one with 'kubectl keylend accept'"
            );
            return Some((Reason::SecretMissing, message));
        };
        if !link.shares.iter().any(|share| share.environment == parsed.environment.as_str()) {
            let message = format!(
                "spec.environment: Secret '{written}' not configured for environment '{0}'; add a share for '{0}' to its spec.link.shares",
                parsed.environment
            );
            return Some((Reason::EnvironmentUnset, message));
        }
    }
    (guards == Guards::Missing).then(|| {
        let message = "the admission policies that guard injected pods are missing or altered; a cluster administrator restores them with helm upgrade";
        (Reason::PoliciesMissing, message.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::scenario::{NOW, linked, route};

    fn ready(route: &Route, linked: Option<&Secret>, guards: Guards) -> (Reason, String) {
        let named =
            |name: &SecretName| linked.cloned().filter(|_| name.as_str() == "stripe-api-key").map(Arc::new);
        let mut status = plan(route, named, guards, NOW.parse().unwrap());
        assert_eq!(status.observed_generation, Some(1));
        let condition = status.conditions.pop().unwrap();
        assert_eq!(condition.type_, ConditionType::Ready);
        assert_eq!(condition.status == ConditionStatus::True, condition.reason == Reason::Complete);
        (condition.reason, condition.message)
    }

    #[test]
    fn what_a_route_lacks_is_named_with_its_field() {
        type Change = fn(&mut Route, &mut Option<Secret>, &mut Guards);
        // (change, reason, the message begins with)
        let table: [(Change, Reason, &str); 7] = [
            (|_, _, _| (), Reason::Complete, "the route is complete"),
            (
                |route, _, _| route.spec.upstream = "https://api.EXAMPLE.com".into(),
                Reason::FieldInvalid,
                "spec.upstream: write this host name as api.example.com",
            ),
            (
                |route, _, _| route.spec.headers[0].value = "{{STRIPE_API_KEY}}".into(),
                Reason::FieldInvalid,
                "spec.headers[0].value: write a secret as {{secret:name}}",
            ),
            (
                |_, linked, _| *linked = None,
                Reason::SecretMissing,
                "spec.headers: there is no linked Secret 'STRIPE_API_KEY'",
            ),
            (
                |_, linked, _| linked.as_mut().unwrap().spec.link = None,
                Reason::SecretMissing,
                "spec.headers: there is no linked Secret 'STRIPE_API_KEY'",
            ),
            (
                |route, _, _| route.spec.environment = "staging".into(),
                Reason::EnvironmentUnset,
                "spec.environment: Secret 'STRIPE_API_KEY' not configured for environment 'staging'",
            ),
            (|_, _, guards| *guards = Guards::Missing, Reason::PoliciesMissing, "the admission policies"),
        ];
        for (change, reason, message) in table {
            let (mut route, mut linked, mut guards) = (route(), Some(linked()), Guards::Unaltered);
            change(&mut route, &mut linked, &mut guards);
            let found = ready(&route, linked.as_ref(), guards);
            assert_eq!(found.0, reason, "{}", found.1);
            assert!(found.1.starts_with(message), "{}", found.1);
        }
    }
}
