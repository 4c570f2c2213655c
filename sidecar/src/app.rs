//! Builds the sidecar from its configuration, and runs it until it is told to stop.
//!
//! The listener is bound first, so that nobody else in the pod can take its port, and calls are refused by code until we
//! are enrolled. Everything ends together: a sidecar that can no longer renew must not go on.

pub mod process;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, task::JoinSet, time::sleep};

use crate::{
    config::Config,
    fault::Fault,
    identity::{Identity, enrolment::Enrolment},
    lease::Leases,
    listen::Listener,
    operator::Operator,
    upstream::Resolver,
};

/// How long open calls may take to end after the stop: less than a pod's usual grace of 30 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// The sidecar.
pub struct App;

/// The sidecar, bound to its address and not yet serving.
pub struct Bound {
    listener: Listener,
    enrolment: Enrolment,
    operator: Operator,
    leases: Leases,
}

impl App {
    /// Binds the listener and makes the key.
    ///
    /// # Errors
    /// [`Fault`] when the address is taken, or the key or TLS cannot be set up.
    pub async fn build(config: &Config) -> Result<Bound, Fault> {
        // First, for the key takes a while: the first use of the random generator gathers entropy.
        let socket = TcpListener::bind(config.listener).await;
        let socket = socket.map_err(|error| Fault::new("binding the listener", error))?;
        let identity = Arc::new(Identity::generate()?);
        let operator = Operator::new(config, Arc::clone(&identity))?;
        let leases = Leases::new();
        let carried = (Arc::clone(&identity), operator.clone(), leases.clone());
        let listener = Listener::new(socket, carried, Resolver::system())?;
        let enrolment = Enrolment::new(config, identity)?;
        Ok(Bound { listener, enrolment, operator, leases })
    }
}

impl Bound {
    /// Where apps reach us.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Runs until `stop` resolves and the open calls have ended, or were given long enough.
    ///
    /// # Errors
    /// [`Fault`] if what keeps us enrolled, connected or renewed ended.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Fault> {
        let Self { listener, enrolment, operator, leases } = self;
        let renewing = operator.clone();
        let mut kept = JoinSet::new();
        kept.spawn(async move { enrolment.keep().await });
        kept.spawn(async move { operator.keep_connected().await });
        kept.spawn(async move { renewing.keep_renewing(&leases).await });
        let (stopping, stopped) = oneshot::channel::<()>();
        let stop = async move {
            stop.await;
            drop(stopping);
        };
        let overdue = async {
            // The sender is dropped at the stop; nothing is ever sent.
            let _ = stopped.await;
            sleep(DRAIN_LIMIT).await;
        };
        tokio::select! {
            () = listener.serve(stop) => Ok(()),
            () = overdue => Ok(()),
            Some(ended) = kept.join_next() => {
                // What a panic said may quote what was being worked on.
                let how = if ended.is_ok() { "a task ended" } else { "a task panicked" };
                Err(Fault::new("keeping up with the operator", how))
            }
        }
    }
}
