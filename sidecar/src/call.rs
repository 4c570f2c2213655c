//! The story of one call, top to bottom.
//!
//! Promises: nothing leaves the pod unless every earlier line succeeded; at most one request goes upstream, at most
//! once; the moment the hold is lost, everything that was opened for the call is dropped, and dropping cuts it. Never add
//! a retry, a second way to an upstream, or a response that was not scrubbed.

pub mod app;
pub mod buffers;
pub mod exchange;
pub mod hop;
pub mod inject;
pub mod scrub;
pub mod target;
pub mod trace;

use aws_lc_rs::rand;
use keylend_contract::wire::{self, Ask, CallId, WIRE_VERSION};
use tokio::select;

use self::{
    app::App,
    buffers::{Outlet, Spare},
    exchange::{Afterwards, Exchange, Exchanged},
    inject::Outgoing,
    scrub::Scrubber,
    target::{Authority, Target},
    trace::Origin,
};
use crate::{
    fault::{Failure, Fault},
    http1::{Persistence, RequestHead},
    lease::{Lease, Leases, Permission},
    operator::Operator,
    upstream::{Connection, Destination, Upstreams},
};

/// Carries calls. One for the process.
pub struct Carrier {
    /// Who is asked.
    pub operator: Operator,
    /// What is open.
    pub leases: Leases,
    /// Where to.
    pub upstreams: Upstreams,
    /// The listener's own names.
    pub authority: Authority,
    /// Buffers to be used again.
    pub spare: Spare,
}

/// One call as it was asked for.
struct Call<'a> {
    head: &'a RequestHead,
    target: Target<'a>,
    ask: &'a Ask,
    origin: Origin,
    permission: &'a Permission,
    scrubber: &'a Scrubber,
}

impl Carrier {
    /// Carries the request with `head` upstream, and its response back to `app`. Says whether the app's connection is
    /// good for another request.
    ///
    /// # Errors
    /// The refusal, or the fault. `app` says whether a response had begun by then.
    pub async fn carry(&self, app: &mut App<'_>, head: &RequestHead) -> Result<Persistence, Failure> {
        let target = Target::of(head, &self.authority)?;
        let (ask, origin) = asking(head, target)?;
        let asked = self.operator.ask(&ask).await;
        let permission = asked.inspect_err(|_| self.upstreams.forget_route(target.route))?;
        let lease = self.leases.open(ask.clone(), &permission);
        let scrubber = Scrubber::new(&permission.material);
        let call = Call { head, target, ask: &ask, origin, permission: &permission, scrubber: &scrubber };
        let carried = select! {
            biased;
            refusal = lease.lost() => {
                self.upstreams.forget(&permission.granted);
                Err(refusal.into())
            }
            carried = self.send(app, &call, &lease) => carried,
        };
        tell_of_echoes(&call);
        carried
    }

    /// The part of the story that is cut when the hold is lost: to be dropped at any point.
    async fn send(&self, app: &mut App<'_>, call: &Call<'_>, lease: &Lease) -> Result<Persistence, Failure> {
        let material = &call.permission.material;
        let destination = Destination::permitted(&call.permission.granted)?;
        app.invite(call.head).await?;
        let connection = self.connection(call, &destination).await?;
        let outgoing = Outgoing {
            head: call.head,
            target: call.target,
            destination: destination.upstream(),
            trace: (&call.ask.trace, call.origin),
        };
        let mut out = Outlet::new(&self.spare);
        lease.may_begin()?;
        inject::write(out.buffer(), &outgoing, material)?;
        let exchange = Exchange {
            head: call.head,
            connection: &connection,
            host: destination.host(),
            scrubber: call.scrubber,
        };
        let Exchanged { app, upstream } = exchange.run(app, out).await?;
        if let Afterwards::Keep(patience) = upstream
            && call.head.is_idempotent()
        {
            self.upstreams.keep(connection, lease.held_until(), patience);
        }
        Ok(app)
    }

    /// A connection at the beginning of a request. One that waited may end just then, so it serves only what an app may
    /// send again without knowing what came of it (RFC 9110, 9.2.2).
    async fn connection(
        &self,
        call: &Call<'_>,
        destination: &Destination<'_>,
    ) -> Result<Connection, Failure> {
        let route = call.target.route;
        let waiting = call.head.is_idempotent().then(|| self.upstreams.waiting(route, destination)).flatten();
        match waiting {
            Some(waiting) => Ok(waiting),
            None => self.upstreams.connect(route, destination).await,
        }
    }
}

/// Tells the log how often the upstream sent a credential back, in whatever spelling.
fn tell_of_echoes(call: &Call<'_>) {
    let echoes = call.scrubber.hits();
    if echoes > 0 {
        let (route, trace) = (call.target.route, &call.ask.trace.trace_id);
        tracing::warn!(route, trace, echoes, "masked a credential that the upstream sent back");
    }
}

/// The question before the call: fresh names for it, and what the app wants.
fn asking(head: &RequestHead, target: Target<'_>) -> Result<(Ask, Origin), Fault> {
    let mut random = [0; 40];
    rand::fill(&mut random).map_err(|error| Fault::new("naming a call", error))?;
    let (mut call, mut trace) = ([0; 16], [0; 24]);
    call.copy_from_slice(&random[..16]);
    trace.copy_from_slice(&random[16..]);
    let (trace, origin) = trace::trace(head, trace);
    let ask = Ask {
        version: WIRE_VERSION,
        call: CallId(uuid::Builder::from_random_bytes(call).into_uuid()),
        trace,
        target: wire::Target::Route(target.route.to_owned()),
        method: head.method().to_owned(),
        path: target.path.to_owned(),
    };
    Ok((ask, origin))
}
