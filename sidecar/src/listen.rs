//! The local listener: loopback only, one task a connection.
//!
//! Promises: it serves nobody but who reaches the pod's loopback; connections, calls and the time each may take are
//! bounded; on the stop signal it accepts no more, lets open calls end, and returns. Never add an address, a second
//! protocol, or an answer that says more than yes or no about ourselves.

mod connection;

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use keylend_contract::refusal::Refusal;
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    call::{Carrier, buffers::Spare, target::Authority},
    fault::Fault,
    http1::{Asked, Buffer, Persistence},
    identity::Identity,
    lease::Leases,
    operator::Operator,
    respond,
    upstream::{Resolver, Upstreams},
};

/// The most connections from apps.
const MAX_CONNECTIONS: usize = 1024;
/// The most calls at once; with the buffers of each, this keeps within the container's memory.
const MAX_CALLS: usize = 256;
/// After an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound listener.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
}

/// What all connections share.
struct Door {
    carrier: Carrier,
    identity: Arc<Identity>,
    calls: Semaphore,
}

impl Listener {
    /// Carries what arrives at `socket`.
    ///
    /// # Errors
    /// [`Fault`] when the socket is not bound, or TLS cannot be set up.
    pub fn new(
        socket: TcpListener,
        (identity, operator, leases): (Arc<Identity>, Operator, Leases),
        resolver: Resolver,
    ) -> Result<Self, Fault> {
        let address = socket.local_addr().map_err(|error| Fault::new("opening the listener", error))?;
        let upstreams = Upstreams::new(resolver)?;
        let (authority, spare) = (Authority::of(address), Spare::default());
        let carrier = Carrier { operator, leases, upstreams, authority, spare };
        let door = Arc::new(Door { carrier, identity, calls: Semaphore::new(MAX_CALLS) });
        Ok(Self { socket, address, door })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves, then until the open calls have ended.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { socket, door, .. } = self;
        let (open, closing) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        let mut tidy = pin!(door.carrier.upstreams.tidy());
        loop {
            select! {
                biased;
                () = &mut stop => break,
                () = &mut tidy => {}
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = socket.accept() => match accepted {
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    Ok((stream, _)) if connections.len() >= MAX_CONNECTIONS => turn_away(&stream),
                    Ok((stream, _)) => {
                        connections.spawn(connection::serve(stream, Arc::clone(&door), closing.clone()));
                    }
                },
            }
        }
        drop((socket, open));
        while !connections.is_empty() {
            select! {
                () = &mut tidy => {}
                _ = connections.join_next() => {}
            }
        }
    }
}

/// Says that there is no room, as far as the socket takes it at once.
fn turn_away(stream: &TcpStream) {
    let mut out = Buffer::new();
    if respond::failure(&mut out, &Refusal::Overloaded.into(), Asked::Other, Persistence::Close).is_ok() {
        // Nobody waits for whether it was heard.
        let _ = stream.try_write(out.bytes());
    }
}
