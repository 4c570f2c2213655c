//! Starts the controllers, with one store for each kind.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt as _, future};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::watch as channel;

use self::tell::Teller;
use crate::{
    intake::Intake,
    keys::{local::LocalKeys, working::WorkingKeys},
    policies::Guards,
    revocation::Incarnation,
    storage::Storage,
    world::Watched,
};

pub mod apply;
pub mod route;
pub mod secret;
pub mod secret_share;
pub mod tell;
pub mod watch;

/// What runs until the process ends.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The controllers, built but not running.
pub struct Controllers {
    /// What they and the other watches see, once they run.
    pub watched: Watched,
    /// Runs them, and the other watches, until the process ends.
    pub running: Running,
    /// Where the state of the guards is told to the routes. Until it is, they count as missing.
    pub guards: channel::Sender<Guards>,
}

/// Builds every controller; nothing runs yet.
#[must_use]
pub fn build(
    client: &Client,
    intake: Intake,
    keys: Arc<LocalKeys>,
    storage: Arc<Storage>,
    teller: Teller,
) -> Controllers {
    let (guards, known) = channel::channel(Guards::Missing);
    let keys = Arc::new(WorkingKeys::of(keys));
    let secrets = secret::controller(client, &keys);
    let shares = secret_share::controller(client);
    let routes = route::controller(client, known.clone());
    let (watched, watching) = Watched::new(routes.store(), secrets.store(), shares.store(), client);
    let secret = secret::Context {
        client: client.clone(),
        intake,
        storage,
        keys: keys.clone(),
        teller: teller.clone(),
    };
    let incarnation = Mutex::new(Incarnation::default());
    let share =
        secret_share::Context { client: client.clone(), watched: watched.clone(), teller, incarnation };
    let route = route::Context { client: client.clone(), watched: watched.clone(), guards: known };
    let looking = async move { keys.keep_looking().await };
    let running: [Running; 5] = [
        Box::pin(watching),
        Box::pin(looking),
        Box::pin(secret::run(secrets, Arc::new(secret))),
        Box::pin(secret_share::run(shares, Arc::new(share))),
        Box::pin(route::run(routes, Arc::new(route))),
    ];
    let running = Box::pin(future::join_all(running).map(|_| ()));
    Controllers { watched, running, guards }
}

/// The UID of the namespace `name`, read afresh: the watches may be behind.
async fn namespace_uid(client: &Client, name: &str) -> kube::Result<Option<String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    Ok(namespaces.get_metadata_opt(name).await?.and_then(|found| found.metadata.uid))
}
