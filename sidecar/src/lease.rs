//! What an open call holds, and how it loses it.
//!
//! A grant holds for at most T from the moment its question was *sent*, by the monotonic clock; a renewal holds for as
//! long again. Whoever hears nothing in time has lost its hold: silence means no. The renewal loop learns from
//! [`Leases::open_calls`] and [`Leases::opened_late`], and fills in [`Leases::renewed`]; a call sees only its own
//! [`Lease`].
//!
//! No value is ever kept here, and nothing here may extend a hold without the operator's word.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use keylend_contract::{
    material::Material,
    refusal::Refusal,
    wire::{Ask, CallId, GRANT_TERM, Granted, OpenCall, RenewAnswer, Verdict},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

/// A grant that took longer than this leaves too little time for a renewal in up to T/2.
const LATE: Duration = Duration::from_millis(500);

/// The operator's yes to one [`Ask`].
pub struct Permission {
    /// What was granted.
    pub granted: Granted,
    /// What to write; its fields are those of the grant, taken out of it.
    pub material: Material,
    /// When the ask was sent.
    pub sent: Instant,
}

/// All open calls of this sidecar. Clones share them.
#[derive(Clone, Default)]
pub struct Leases {
    entries: Arc<Mutex<HashMap<CallId, Entry>>>,
    late: Arc<Notify>,
}

struct Entry {
    call: OpenCall,
    hold: watch::Sender<Hold>,
    late: bool,
}

/// One call's hold. Dropping it ends the call for the renewal loop.
pub struct Lease {
    leases: Leases,
    call: CallId,
    hold: watch::Receiver<Hold>,
    begun: AtomicBool,
}

/// What the operator last said, and when it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Hold {
    Until { asked: Instant, end: Instant },
    Cut(Refusal),
}

impl Hold {
    fn of(asked: Instant, milliseconds: u64) -> Self {
        Self::Until { asked, end: asked + Duration::from_millis(milliseconds).min(GRANT_TERM) }
    }

    /// The hold after a `verdict` on a question sent at `asked`. A cut is final; an older answer changes nothing, nor does
    /// one that decides nothing.
    fn after(&self, asked: Instant, verdict: Verdict) -> Option<Self> {
        match (self, verdict) {
            (Self::Cut(_), _) | (_, Verdict::Undecided) => None,
            (Self::Until { .. }, Verdict::Cut(refusal)) => Some(Self::Cut(refusal)),
            (Self::Until { asked: before, .. }, Verdict::Held(milliseconds)) => {
                (asked >= *before).then(|| Self::of(asked, milliseconds))
            }
        }
    }

    fn at(&self, now: Instant) -> Result<Instant, Option<Refusal>> {
        match self {
            Self::Until { end, .. } if now < *end => Ok(*end),
            Self::Until { .. } => Err(None),
            Self::Cut(refusal) => Err(Some(refusal.clone())),
        }
    }
}

impl Leases {
    /// No open calls.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a call with what it was granted. This comes before the call begins, so that a stop in between ends it.
    #[must_use]
    pub fn open(&self, ask: Ask, permission: &Permission) -> Lease {
        let call = ask.call;
        let granted = &permission.granted;
        let (hold, lease) = watch::channel(Hold::of(permission.sent, granted.begin_within_ms));
        let open = OpenCall { ask, basis: granted.basis() };
        let late = permission.sent.elapsed() > LATE;
        self.entries().insert(call, Entry { call: open, hold, late });
        if late {
            self.late.notify_one();
        }
        Lease { leases: self.clone(), call, hold: lease, begun: AtomicBool::new(false) }
    }

    /// The calls that were opened by a grant that came late, once there are any: they cannot wait for the next renewal of
    /// all. Each is told of once.
    pub(crate) async fn opened_late(&self) -> Vec<OpenCall> {
        self.late.notified().await;
        let mut entries = self.entries();
        let late = entries.values_mut().filter_map(|entry| mem::take(&mut entry.late).then_some(&entry.call));
        late.cloned().collect()
    }

    /// The calls that want to go on.
    #[must_use]
    pub fn open_calls(&self) -> Vec<OpenCall> {
        self.entries().values().map(|entry| entry.call.clone()).collect()
    }

    /// Takes in the answer to a renewal of `calls` that was sent at `asked`. An answer that has not one verdict a call
    /// renews nothing.
    pub fn renewed(&self, calls: &[OpenCall], asked: Instant, answer: RenewAnswer) {
        if answer.verdicts.len() != calls.len() {
            return;
        }
        let entries = self.entries();
        for (call, verdict) in calls.iter().zip(answer.verdicts) {
            let Some(entry) = entries.get(&call.ask.call) else { continue };
            let after = entry.hold.borrow().after(asked, verdict);
            if let Some(hold) = after {
                entry.hold.send_replace(hold);
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<CallId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Decides whether the first byte may leave now; from then on the call has begun.
    ///
    /// # Errors
    /// [`Refusal::GrantLapsed`] when the time to begin has passed, or the refusal the hold was cut with.
    pub fn may_begin(&self) -> Result<(), Refusal> {
        match self.hold.borrow().at(Instant::now()) {
            Ok(_) => {
                self.begun.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(refusal) => Err(refusal.unwrap_or(Refusal::GrantLapsed)),
        }
    }

    /// Until when the operator's last word holds; the present if it was a no.
    #[must_use]
    pub fn held_until(&self) -> Instant {
        let now = Instant::now();
        self.hold.borrow().at(now).unwrap_or(now)
    }

    /// Resolves when the hold is lost: with the refusal it was cut with, or because no renewal came in time, which is
    /// [`Refusal::GrantLapsed`] for a call that had not begun.
    pub async fn lost(&self) -> Refusal {
        let mut hold = self.hold.clone();
        loop {
            let standing = hold.borrow_and_update().at(Instant::now());
            let end = match standing {
                Ok(end) => end,
                Err(refusal) => return refusal.unwrap_or_else(|| self.lapsed()),
            };
            let mut change = pin!(async {
                tokio::select! {
                    () = sleep_until(end) => Ok(()),
                    changed = hold.changed() => changed,
                }
            });
            // The clock is read whenever the call is woken, not only when its timer fires: a process that was stopped
            // for a while may find something to write before its timers are looked at.
            let changed = poll_fn(|context| {
                if Instant::now() < end { change.as_mut().poll(context) } else { Poll::Ready(Ok(())) }
            });
            if changed.await.is_err() {
                return self.lapsed();
            }
        }
    }

    fn lapsed(&self) -> Refusal {
        if self.begun.load(Ordering::Relaxed) { Refusal::OperatorUnreachable } else { Refusal::GrantLapsed }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.entries().remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use keylend_contract::{
        address::Networks,
        domain_lock::DomainLock,
        upstream::Ports,
        wire::{Anchors, HeadersDigest, HeldShare, Permit, Target, Trace, WIRE_VERSION},
    };
    use tokio::time::advance;
    use uuid::Uuid;

    use super::*;

    fn ask(number: u128) -> Ask {
        Ask {
            version: WIRE_VERSION,
            call: CallId(Uuid::from_u128(number)),
            trace: Trace { trace_id: "1".repeat(32), span_id: "1".repeat(16) },
            target: Target::Route("stripe".into()),
            method: "GET".into(),
            path: "/".into(),
        }
    }

    fn permission(begin_within_ms: u64) -> Permission {
        let permit = Permit {
            share: "share-uid".into(),
            generation: 1,
            lock: DomainLock::parse(&["api.example.com"]).unwrap(),
            ports: Ports::try_from(vec![443]).unwrap(),
            networks: Networks::parse::<&str>(&[]).unwrap(),
            anchors: Anchors::Public,
        };
        let granted = Granted {
            begin_within_ms,
            destination: "https://api.example.com".parse().unwrap(),
            permits: vec![permit],
            headers: vec![],
            headers_digest: HeadersDigest::of(&[]),
        };
        let material = Material { headers: vec![], values: vec![] };
        Permission { granted, material, sent: Instant::now() }
    }

    fn verdicts(verdicts: &[Verdict]) -> RenewAnswer {
        RenewAnswer { verdicts: verdicts.to_vec() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_begins_within_its_grant_and_never_after_it() {
        for (granted, waited, may_begin) in [
            (2_000, 1_999, true),
            (2_000, 2_000, false),
            (300, 299, true),
            (300, 300, false),
            (9_000, 2_000, false),
        ] {
            let lease = Leases::new().open(ask(1), &permission(granted));
            advance(Duration::from_millis(waited)).await;
            let expected = if may_begin { Ok(()) } else { Err(Refusal::GrantLapsed) };
            assert_eq!(lease.may_begin(), expected, "{granted} {waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_renewal_the_hold_is_lost_at_its_end() {
        let begun = Instant::now();
        let (lease, idle) =
            (Leases::new().open(ask(1), &permission(2_000)), Leases::new().open(ask(2), &permission(2_000)));
        assert_eq!(lease.may_begin(), Ok(()));
        assert_eq!(lease.lost().await, Refusal::OperatorUnreachable);
        assert_eq!(idle.lost().await, Refusal::GrantLapsed);
        assert_eq!(begun.elapsed().as_secs(), GRANT_TERM.as_secs());
    }

    #[tokio::test]
    async fn a_hold_that_ended_while_the_process_stood_still_is_lost_before_its_timer_fires() {
        let lease = Leases::new().open(ask(1), &permission(50));
        let mut lost = pin!(lease.lost());
        let mut context = Context::from_waker(Waker::noop());
        assert!(lost.as_mut().poll(&mut context).is_pending());
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(lost.as_mut().poll(&mut context), Poll::Ready(Refusal::GrantLapsed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_holds_from_when_it_was_sent() {
        let begun = Instant::now();
        let leases = Leases::new();
        let lease = leases.open(ask(1), &permission(2_000));
        assert_eq!(lease.may_begin(), Ok(()));
        let calls = leases.open_calls();
        advance(Duration::from_secs(1)).await;
        let asked = Instant::now();
        advance(Duration::from_millis(500)).await;
        leases.renewed(&calls, asked, verdicts(&[Verdict::Held(60_000)]));
        assert_eq!(lease.lost().await, Refusal::OperatorUnreachable);
        assert_eq!(begun.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_is_seen_at_once_and_is_final() {
        let begun = Instant::now();
        let leases = Leases::new();
        let (lease, other) =
            (leases.open(ask(1), &permission(2_000)), leases.open(ask(2), &permission(2_000)));
        let mut calls = leases.open_calls();
        calls.sort_by_key(|call| call.ask.call.0);
        let revoked = Refusal::ShareRevoked { secret: "a".into() };
        leases.renewed(&calls, begun, verdicts(&[Verdict::Cut(revoked.clone()), Verdict::Held(2_000)]));
        leases.renewed(&calls, begun, verdicts(&[Verdict::Held(2_000), Verdict::Held(2_000)]));
        assert_eq!(lease.may_begin(), Err(revoked.clone()));
        assert_eq!(lease.lost().await, revoked);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(other.may_begin(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_fit_or_is_older_renews_nothing() {
        let leases = Leases::new();
        let lease = leases.open(ask(1), &permission(2_000));
        let calls = leases.open_calls();
        let before = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        leases.renewed(&calls, before, verdicts(&[Verdict::Held(1)]));
        advance(Duration::from_secs(1)).await;
        leases.renewed(&calls, Instant::now(), verdicts(&[Verdict::Held(2_000), Verdict::Held(2_000)]));
        leases.renewed(&calls, Instant::now(), verdicts(&[Verdict::Undecided]));
        assert_eq!(lease.may_begin(), Ok(()));
        advance(Duration::from_secs(1)).await;
        assert_eq!(lease.may_begin(), Err(Refusal::GrantLapsed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ended_is_renewed_no_more() {
        let leases = Leases::new();
        let lease = leases.open(ask(1), &permission(2_000));
        assert_eq!(leases.open_calls().len(), 1);
        let held = HeldShare { uid: "share-uid".into(), generation: 1 };
        assert_eq!(leases.open_calls()[0].basis.shares, [held]);
        drop(lease);
        assert_eq!(leases.open_calls().len(), 0);
    }
}
