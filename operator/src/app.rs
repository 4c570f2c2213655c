//! Builds one replica out of its parts, runs it, and lets it end in good order.
//!
//! Every replica does everything. Nothing here is allowed to assume that it is alone.

mod clients;
mod listeners;
pub mod process;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use keylend_contract::wire::OPERATOR_SERVER_NAME;
use kube::Client;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use self::{clients::clients, process::Signals};
use crate::{
    admission::{Reviewer, bundle, inject::InjectionSettings},
    audit::{self, AuditLog, DenialLimits, Settings},
    authority::{Authority, SERVING_CERTIFICATE_LIFE, Serving},
    config::Config,
    controllers::{self, Controllers, tell::Teller},
    enrol::{Enrolment, Records, Tools},
    fault::{Fault, with_causes},
    freshness::Reader,
    intake::Intake,
    keys::local::LocalKeys,
    metrics::Metrics,
    policies::Policies,
    resolve::{Resolver, server::Server},
    sealing::SealingKeyring,
    storage::{self, NAMESPACE, Storage},
    world::World,
};

/// How long open requests may take when the replica ends.
const DRAIN: Duration = Duration::from_secs(10);
const WEBHOOK_SERVICE: &str = "keylend-webhook";
const SWEEP_EVERY: Duration = Duration::from_mins(10);
const SETTLE_EVERY: Duration = Duration::from_secs(1);
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const DENIALS: DenialLimits =
    DenialLimits { interval: SignedDuration::from_mins(1), rows: 60, bytes: 64 * 1024, callers: 4096 };

/// One replica, built but not running.
pub struct App {
    client: Client,
    deciding: Client,
    authority: Arc<Authority>,
    serving: Arc<Serving>,
    policies: Arc<Policies>,
    settings: InjectionSettings,
    audit: AuditLog,
    storage: Arc<Storage>,
    controllers: Controllers,
    cluster_uid: String,
    metrics: Arc<Metrics>,
    listeners: Listeners,
}

struct Listeners {
    sidecars: TcpListener,
    webhook: Arc<TcpListener>,
    metrics: Arc<TcpListener>,
}

impl App {
    /// Opens the listeners and the audit log, and loads the keys.
    ///
    /// # Errors
    /// [`Fault`], which names what could not be done.
    pub async fn build(config: Config) -> Result<Self, Fault> {
        let listeners = Listeners {
            sidecars: listen(config.sidecar_address).await?,
            webhook: Arc::new(listen(config.webhook_address).await?),
            metrics: Arc::new(listen(config.metrics_address).await?),
        };
        let (client, deciding) = clients().await?;
        let audit = open_audit(&config)?;
        let authority = Arc::new(Authority::load_or_create(&client, NAMESPACE).await?);
        let serving = authority.serving(&serving_names())?;
        let cluster_uid =
            storage::cluster_uid(&client).await.map_err(|e| Fault::new("reading the cluster's uid", e))?;
        let keys = LocalKeys::load_or_create(&client, &deciding)
            .await
            .map_err(|e| Fault::new("loading the keys", e))?;
        let keys = Arc::new(keys);
        let storage = Arc::new(Storage::new(&client, &deciding, keys.clone()));
        let sealing = SealingKeyring::load_or_create(&client, keys.clone(), &cluster_uid)
            .await
            .map_err(|e| Fault::new("loading the sealing keys", e))?;
        let settings = InjectionSettings {
            image: config.sidecar_image,
            image_pull_policy: config.sidecar_image_pull_policy,
            operator_roots_pem: authority.roots_pem().to_owned(),
        };
        if settings.image_digest().is_none() {
            tracing::warn!(
                image = settings.image,
                "the sidecar's image is named by a tag: whoever can move the tag decides what runs; set image.sidecar.digest"
            );
        }
        let teller = Teller::new(&client, audit.clone(), &config.replica);
        let intake = Intake::new(sealing, storage.clone(), cluster_uid.clone(), audit.clone());
        let controllers = controllers::build(&client, intake, keys, storage.clone(), teller);
        Ok(Self {
            policies: Arc::new(Policies::built_in()?),
            metrics: Arc::new(Metrics::new().map_err(|e| Fault::new("registering metrics", e))?),
            client,
            deciding,
            authority,
            serving,
            settings,
            audit,
            storage,
            controllers,
            cluster_uid,
            listeners,
        })
    }

    /// Runs until SIGTERM or SIGINT; then refuses new work, finishes what is open, and closes the audit log.
    ///
    /// # Errors
    /// [`Fault`] if a listener cannot be configured, or a watch ends for good.
    pub async fn run(self) -> Result<(), Fault> {
        let ready = Arc::new(AtomicBool::new(false));
        let audit = self.audit.clone();
        let tasks = self.background(&ready);
        let outcome = self.serve(&ready).await;
        for task in tasks {
            task.abort();
        }
        audit.close().await;
        outcome
    }

    /// Starts what needs no watch to have delivered: probes, the webhook with its certificate and bundle, and the look at
    /// the policies.
    fn background(&self, ready: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
        let tls = TlsAcceptor::from(Arc::new(self.authority.webhook_server_config(&self.serving)));
        let reviewer = Arc::new(Reviewer::new(self.settings.clone()));
        let (policies, client, guards) =
            (self.policies.clone(), self.client.clone(), self.controllers.guards.clone());
        let (metrics, audit) = (self.metrics.clone(), self.audit.clone());
        vec![
            tokio::spawn(listeners::metrics(
                self.listeners.metrics.clone(),
                self.metrics.clone(),
                self.audit.clone(),
                ready.clone(),
            )),
            tokio::spawn(listeners::webhook(
                self.listeners.webhook.clone(),
                tls,
                reviewer,
                self.metrics.clone(),
            )),
            tokio::spawn(bundle::keep(self.client.clone(), self.settings.operator_roots_pem.clone())),
            tokio::spawn(renew_serving(self.authority.clone(), self.serving.clone())),
            tokio::spawn(async move { policies.keep_looking(client, guards, &metrics, &audit).await }),
        ]
    }

    /// Serves sidecars from the moment every watch has delivered, until told to stop.
    async fn serve(self, ready: &AtomicBool) -> Result<(), Fault> {
        let watched = self.controllers.watched.clone();
        let controllers = tokio::spawn(self.controllers.running);
        let mut signals = Signals::new()?;
        let world = tokio::select! {
            world = watched.synced() => world.map_err(|e| Fault::new("waiting for the watches", e))?,
            () = signals.told_to_stop() => return Ok(()),
        };
        let enrolment = Arc::new(Enrolment::new(Tools {
            records: Records::new(self.client.clone(), NAMESPACE),
            client: self.client,
            authority: self.authority.clone(),
            policies: self.policies,
            settings: self.settings,
            audit: self.audit.clone(),
        }));
        let sweeping = tokio::spawn(sweep_records(enrolment.clone(), world.clone()));
        let settling = tokio::spawn(settle_suspects(enrolment.clone(), world.clone()));
        let resolver = Resolver {
            reader: Reader::new(self.deciding, world.clone()),
            world,
            storage: self.storage,
            audit: self.audit,
            turns: Arc::default(),
            cluster_uid: self.cluster_uid,
        };
        let server = Arc::new(Server { resolver, enrolment, metrics: self.metrics });
        let tls = TlsAcceptor::from(Arc::new(self.authority.sidecar_server_config(&self.serving)?));
        let (draining, drain) = watch::channel(());
        let serving = tokio::spawn(server.serve(self.listeners.sidecars, tls, drain));
        ready.store(true, Ordering::Relaxed);
        tracing::info!("the operator is ready");
        signals.told_to_stop().await;
        ready.store(false, Ordering::Relaxed);
        drop(draining);
        if tokio::time::timeout(DRAIN, serving).await.is_err() {
            tracing::warn!("requests were still open at the end");
        }
        for task in [sweeping, settling, controllers] {
            task.abort();
        }
        Ok(())
    }
}

/// The client for everything that is no decision.
///
/// # Errors
/// [`Fault`] if there is no cluster to connect to.
pub async fn client() -> Result<Client, Fault> {
    clients().await.map(|(ordinary, _)| ordinary)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|e| Fault::new("opening a listener", e))
}

fn open_audit(config: &Config) -> Result<AuditLog, Fault> {
    let settings = Settings {
        directory: config.audit_directory.clone(),
        replica: config.replica.clone(),
        incarnation: Uuid::new_v4().to_string(),
        segment_bytes: SEGMENT_BYTES.min(config.audit_budget_bytes / 4),
        budget_bytes: config.audit_budget_bytes,
        minimum_retention: config.audit_minimum_retention,
        patience: audit::PATIENCE,
    };
    AuditLog::open(settings, DENIALS, std::io::stdout()).map_err(|e| Fault::new("opening the audit log", e))
}

fn serving_names() -> Vec<String> {
    let webhook = format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc");
    vec![OPERATOR_SERVER_NAME.to_owned(), webhook]
}

async fn renew_serving(authority: Arc<Authority>, serving: Arc<Serving>) {
    loop {
        tokio::time::sleep(SERVING_CERTIFICATE_LIFE / 2).await;
        if let Err(fault) = authority.renew(&serving) {
            tracing::error!(error = with_causes(&fault), "the serving certificate could not be renewed");
        }
    }
}

async fn sweep_records(enrolment: Arc<Enrolment>, world: World) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if let Err(fault) = enrolment.sweep(|uid| world.pod_lives(uid)).await {
            tracing::warn!(error = with_causes(&fault), "records of gone pods could not be removed");
        }
    }
}

/// Every replica looks at every suspect, so that the one which heard of it may end.
async fn settle_suspects(enrolment: Arc<Enrolment>, world: World) {
    loop {
        tokio::time::sleep(SETTLE_EVERY).await;
        for record in world.suspects() {
            if let Err(fault) = enrolment.settle(&record).await {
                tracing::warn!(
                    error = with_causes(&fault),
                    "whether a container restarted could not be told yet"
                );
            }
        }
    }
}
