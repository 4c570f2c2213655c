//! Resolves a name, and dials an address that was approved.
//!
//! Promises: names are asked for as absolute, so nothing of the pod's search list answers for them; only approved addresses
//! are dialled, each at most once; a socket is born so that closing it discards what
//! the kernel still holds: a cut call, a panic or `kill -9` lets no queued byte out.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use keylend_contract::refusal::Refusal;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    destination::{Addresses, Destination},
    unreachable,
};

/// How long a name may take: a resolver asks again after five seconds when a packet was lost.
const RESOLVE_TIME: Duration = Duration::from_secs(7);
/// How long one address may take, before the next is tried.
const DIAL_TIME: Duration = Duration::from_secs(3);
/// A peer that is gone without a word is noticed after about a minute, also under a stream that is silent by nature.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(30);

type Answers = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
type Resolve = dyn Fn(&str, u16) -> Answers + Send + Sync;

/// Turns names into addresses.
pub struct Resolver(Box<Resolve>);

impl Resolver {
    /// The system's own.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|host, port| {
            let name = (host.to_owned(), port);
            async move { Ok(lookup_host(name).await?.map(|address| address.ip()).collect()) }
        })
    }

    /// One that asks `resolve`, for names with their final dot (RFC 1034, 3.1).
    #[must_use]
    pub fn new<F>(resolve: impl Fn(&str, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Box::new(move |host, port| Box::pin(resolve(host, port))))
    }

    /// The approved addresses of `destination`.
    ///
    /// # Errors
    /// [`Refusal::UpstreamUnreachable`] without an answer in time; [`Refusal::AddressNotApproved`].
    pub(super) async fn resolve(&self, destination: &Destination<'_>) -> Result<Addresses, Refusal> {
        let absolute = format!("{}.", destination.host());
        let asked = (self.0)(&absolute, destination.upstream().port());
        let Ok(Ok(answers)) = timeout(RESOLVE_TIME, asked).await else {
            return Err(unreachable(destination));
        };
        destination.approve(&answers)
    }
}

/// Connects to the first of `addresses` that answers.
///
/// # Errors
/// [`Refusal::UpstreamUnreachable`].
pub(super) async fn dial(destination: &Destination<'_>, addresses: &Addresses) -> Result<TcpStream, Refusal> {
    for address in addresses.as_slice() {
        if let Ok(Ok(stream)) = timeout(DIAL_TIME, connect(*address)).await {
            return Ok(stream);
        }
    }
    Err(unreachable(destination))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}
