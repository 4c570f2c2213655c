//! Takes our finalizers off, once Keylend is uninstalled: nobody would do so afterwards, and namespaces could never go.
//!
//! Revokes nothing and removes no value: who installs again finds everything as it was. Runs when the operator's rights
//! are gone already, so that no replica puts a finalizer back.

use std::{fmt::Debug, time::Duration};

use keylend_crds::{ENVELOPE_FINALIZER, STOP_FINALIZER, Secret, SecretShare};
use kube::{Api, Client, Resource, api::ListParams, core::PartialObjectMeta};

use crate::{
    controllers::apply::{Outcome, drop_finalizer, has_finalizer},
    fault::Fault,
};

const PAGE: u32 = 100;
/// An object that moves on between read and write is read again so often.
const PASSES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Lifts the finalizers of every secret and share.
///
/// # Errors
/// [`Fault`] if the API server does not answer, or an object would not stand still.
pub async fn lift(client: &Client) -> Result<(), Fault> {
    let shares = Api::<PartialObjectMeta<SecretShare>>::all(client.clone());
    let secrets = Api::<PartialObjectMeta<Secret>>::all(client.clone());
    // One share that somebody keeps changing must not hold up the secrets.
    let shares = lift_each(shares, client, STOP_FINALIZER).await;
    lift_each(secrets, client, ENVELOPE_FINALIZER).await.and(shares)
}

async fn lift_each<K>(
    objects: Api<PartialObjectMeta<K>>,
    client: &Client,
    finalizer: &str,
) -> Result<(), Fault>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug,
{
    const DOING: &str = "lifting finalizers";
    let mut fault = Fault::new(DOING, "an object changed all the time");
    for _ in 0..PASSES {
        match pass(&objects, client, finalizer).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => fault = Fault::new(DOING, error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(fault)
}

/// Looks at every object once; whether none carries the finalizer any more.
async fn pass<K>(
    objects: &Api<PartialObjectMeta<K>>,
    client: &Client,
    finalizer: &str,
) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug,
{
    let (mut done, mut failed) = (true, None);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match objects.list(&page).await {
            Ok(list) => list,
            // The definitions were uninstalled as well, and every object with them.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        };
        for object in list.items.iter().filter(|object| has_finalizer(*object, finalizer)) {
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let within = Api::<PartialObjectMeta<K>>::namespaced(client.clone(), namespace);
            match drop_finalizer(&within, object, finalizer).await {
                Ok(outcome) => done &= outcome == Outcome::Written,
                Err(error) => failed = Some(error),
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return failed.map_or(Ok(done), Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use keylend_api_server::ApiServer;
    use serde_json::json;

    use super::*;
    use crate::resolve::scenario::Scenario;

    #[tokio::test]
    async fn only_our_finalizers_go_and_what_waited_for_them_goes_with_them() {
        let api = ApiServer::begin();
        let path = |plural: &str, name: &str| {
            format!("/apis/keylend.dev/v1alpha1/namespaces/payments/{plural}/{name}")
        };
        let share = path("secretshares", "partner");
        let (live, deleted) = (path("keylendsecrets", "live"), path("keylendsecrets", "deleted"));
        let object =
            |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}, "spec": {"type": "String"}});
        let mut shared = object(&[STOP_FINALIZER, "another/one"]);
        shared["spec"] = serde_json::to_value(Scenario::complete().share.unwrap().spec).unwrap();
        api.set(&share, shared);
        api.set(&live, object(&[ENVELOPE_FINALIZER]));
        let mut going = object(&[ENVELOPE_FINALIZER]);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        api.set(&deleted, going);
        lift(&api.client()).await.unwrap();
        assert_eq!(api.object(&share).unwrap()["metadata"]["finalizers"], json!(["another/one"]));
        assert!(api.object(&live).unwrap()["metadata"]["finalizers"].is_null());
        assert_eq!(api.object(&deleted), None);
    }
}
