//! The stop, model-checked: two replicas, two sidecars, messages that take any time or get lost, renewals, replicas that
//! pause, restart or lose the API server at any moment (they then just do nothing), and an expiry by clocks that differ.
//!
//! A tick is one second: [`GRANT_TERM`] is two of them, and a late abort (anything up to [`super::MARGIN`]) rounds up to
//! one more. Completion uses the shipped [`super::remaining`]. Each broken rule must yield a counterexample.

use std::time::{Duration, Instant};

use keylend_contract::wire::GRANT_TERM;
use stateright::{Checker, HasDiscoveries, Model, Property};

const TICK: Duration = Duration::from_secs(1);
const TERM: u8 = 2;
/// How many ticks after its hold lapsed a sidecar may still be closing.
const LATE: u8 = 1;
const END: u8 = 6;
/// When the share ends by itself, by each replica's own clock.
const EXPIRES: i8 = 3;
/// How far each replica's clock is ahead.
const SKEW: [i8; 2] = [1, -1];

const NOTHING_OPEN: &str = "nothing is open once the stop is complete";
const NONE_LATER: &str = "what was asked after the stop never begins";

/// The rules as built, or one of them broken.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Rules {
    AsBuilt,
    NoWait,
    NoMargin,
    GrantOnWatch,
    GrantWithoutFinalizer,
    NoCutOnMissedRenewal,
    TermFromReceipt,
    ExpiryWithoutRecord,
}

/// A share that its owner stops at any time, or one that expires.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Ending {
    ByOwner,
    ByClock,
}

/// The one question a sidecar has under way, and when it was sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Question {
    None,
    Sent(u8),
    Granted(u8),
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Call {
    NotBegun,
    Open { until: u8 },
    Closed,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Sidecar {
    question: Question,
    call: Call,
    /// Its call's first question was sent after the stop was accepted.
    asked_later: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    now: u8,
    finalizer: bool,
    /// Accepted by the API server: deleted, revoked, or recorded as expired.
    stopped: bool,
    /// The finalizer is gone after a stop, or `Revoked=True` shows.
    complete: bool,
    first_read: [Option<u8>; 2],
    sidecars: [Sidecar; 2],
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Tick,
    AddFinalizer,
    Stop,
    RecordExpiry(usize),
    ReadStop(usize),
    Restart(usize),
    Complete(usize),
    Ask(usize),
    Decide { sidecar: usize, replica: usize },
    Receive(usize),
    Lose(usize),
}

struct Sharing {
    rules: Rules,
    ending: Ending,
}

impl Sharing {
    fn expired(&self, replica: usize, now: u8) -> bool {
        self.ending == Ending::ByClock && i8::try_from(now).unwrap() + SKEW[replica] >= EXPIRES
    }

    fn grants(&self, state: &State, replica: usize) -> bool {
        let stopped = if self.rules == Rules::GrantOnWatch {
            state.first_read[replica].is_some()
        } else {
            state.stopped
        };
        let held = state.finalizer || self.rules == Rules::GrantWithoutFinalizer;
        held && !stopped && !self.expired(replica, state.now)
    }

    fn may_complete(&self, first_read: u8, now: u8) -> bool {
        let start = Instant::now();
        let at = |tick: u8| start + TICK * u32::from(tick);
        match self.rules {
            Rules::NoWait => true,
            Rules::NoMargin => at(now).duration_since(at(first_read)) >= GRANT_TERM,
            Rules::AsBuilt
            | Rules::GrantOnWatch
            | Rules::GrantWithoutFinalizer
            | Rules::NoCutOnMissedRenewal
            | Rules::TermFromReceipt
            | Rules::ExpiryWithoutRecord => super::remaining(at(first_read), at(now)).is_none(),
        }
    }

    /// Time passes only up to where every sidecar whose hold has lapsed has closed its call.
    fn tick(&self, state: &mut State) -> Option<()> {
        state.now = (state.now < END).then_some(state.now + 1)?;
        for sidecar in &mut state.sidecars {
            let lapsed = matches!(sidecar.call, Call::Open { until } if state.now >= until + LATE);
            if lapsed && self.rules != Rules::NoCutOnMissedRenewal {
                sidecar.call = Call::Closed;
            }
        }
        Some(())
    }

    /// States that differ only in what makes no difference are one: who is who, and how long ago is long ago.
    fn canonical(&self, mut state: State) -> State {
        let long_ago = state.now.saturating_sub(TERM + LATE);
        for first_read in &mut state.first_read {
            *first_read = first_read.filter(|_| !state.complete).map(|read| read.max(long_ago));
        }
        if self.ending == Ending::ByOwner {
            state.first_read.sort_unstable();
        }
        for sidecar in &mut state.sidecars {
            if let Question::Sent(sent) | Question::Granted(sent) = &mut sidecar.question {
                *sent = (*sent).max(long_ago);
            }
            if sidecar.call == Call::Closed {
                sidecar.question = Question::None;
            }
        }
        state.sidecars.sort_unstable();
        state
    }

    fn share(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::AddFinalizer if !state.finalizer && !state.stopped => state.finalizer = true,
            Action::Stop if self.ending == Ending::ByOwner && !state.stopped => {
                state.stopped = true;
                // Without our finalizer the API server removes the share at once.
                state.complete = !state.finalizer;
            }
            Action::RecordExpiry(replica) if self.expired(replica, state.now) && !state.stopped => {
                state.stopped = true;
            }
            Action::ReadStop(replica) if state.first_read[replica].is_none() && !state.complete => {
                let by_own_clock =
                    self.rules == Rules::ExpiryWithoutRecord && self.expired(replica, state.now);
                state.first_read[replica] = (state.stopped || by_own_clock).then_some(Some(state.now))?;
            }
            Action::Restart(replica) => {
                state.first_read[replica].take()?;
            }
            Action::Complete(replica) if !state.complete => {
                let first_read = state.first_read[replica]?;
                state.complete = self.may_complete(first_read, state.now).then_some(true)?;
            }
            Action::Tick
            | Action::AddFinalizer
            | Action::Stop
            | Action::RecordExpiry(_)
            | Action::ReadStop(_)
            | Action::Complete(_)
            | Action::Ask(_)
            | Action::Decide { .. }
            | Action::Receive(_)
            | Action::Lose(_) => return None,
        }
        Some(())
    }

    /// A sidecar asks for a call it has not begun, or renews one it has open.
    fn ask(state: &mut State, sidecar: usize) -> Option<()> {
        let (now, stopped) = (state.now, state.stopped);
        let sidecar = &mut state.sidecars[sidecar];
        (sidecar.question == Question::None && sidecar.call != Call::Closed).then_some(())?;
        sidecar.question = Question::Sent(now);
        sidecar.asked_later |= stopped && sidecar.call == Call::NotBegun;
        Some(())
    }

    fn decide(&self, state: &mut State, sidecar: usize, replica: usize) -> Option<()> {
        let Question::Sent(sent) = state.sidecars[sidecar].question else { return None };
        let granted = self.grants(state, replica);
        state.sidecars[sidecar].question = if granted { Question::Granted(sent) } else { Question::Refused };
        Some(())
    }

    /// A grant counts from when its question was sent; one that comes too late is none.
    fn receive(&self, state: &mut State, sidecar: usize) -> Option<()> {
        let now = state.now;
        let sidecar = &mut state.sidecars[sidecar];
        match sidecar.question {
            Question::None | Question::Sent(_) => return None,
            Question::Refused => sidecar.call = Call::Closed,
            Question::Granted(sent) => {
                let from = if self.rules == Rules::TermFromReceipt { now } else { sent };
                sidecar.call = match sidecar.call {
                    Call::NotBegun if now < from + TERM => Call::Open { until: from + TERM },
                    Call::Open { until } => Call::Open { until: until.max(from + TERM) },
                    Call::NotBegun | Call::Closed => Call::Closed,
                };
            }
        }
        sidecar.question = Question::None;
        Some(())
    }
}

impl Model for Sharing {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let sidecar = Sidecar { question: Question::None, call: Call::NotBegun, asked_later: false };
        let sidecars = [sidecar.clone(), sidecar];
        let first_read = [None; 2];
        vec![State { now: 0, finalizer: false, stopped: false, complete: false, first_read, sidecars }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Tick, Action::AddFinalizer, Action::Stop]);
        for each in 0..2 {
            actions.extend([Action::RecordExpiry(each), Action::ReadStop(each)]);
            actions.extend([Action::Restart(each), Action::Complete(each)]);
            actions.extend([Action::Ask(each), Action::Receive(each), Action::Lose(each)]);
            actions.extend((0..2).map(|replica| Action::Decide { sidecar: each, replica }));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => self.tick(&mut state),
            Action::Ask(sidecar) => Self::ask(&mut state, sidecar),
            Action::Decide { sidecar, replica } => self.decide(&mut state, sidecar, replica),
            Action::Receive(sidecar) => self.receive(&mut state, sidecar),
            Action::Lose(sidecar) => {
                let question = &mut state.sidecars[sidecar].question;
                (std::mem::replace(question, Question::None) != Question::None).then_some(())
            }
            Action::AddFinalizer
            | Action::Stop
            | Action::RecordExpiry(_)
            | Action::ReadStop(_)
            | Action::Restart(_)
            | Action::Complete(_) => self.share(&mut state, action),
        }?;
        Some(self.canonical(state))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn open(sidecar: &Sidecar) -> bool {
            matches!(sidecar.call, Call::Open { .. })
        }
        vec![
            Property::always(NOTHING_OPEN, |_, state: &State| {
                !state.complete || !state.sidecars.iter().any(open)
            }),
            Property::always(NONE_LATER, |_, state: &State| {
                !state.sidecars.iter().any(|sidecar| sidecar.asked_later && open(sidecar))
            }),
            Property::sometimes("a renewed call outlives its first term", |_, state: &State| {
                state.sidecars.iter().all(|s| matches!(s.call, Call::Open { until } if until > 2 * TERM))
            }),
            Property::sometimes("a stop completes after calls were cut", |_, state: &State| {
                state.complete && state.finalizer && state.sidecars.iter().all(|s| s.call == Call::Closed)
            }),
        ]
    }
}

#[test]
fn whatever_replicas_and_sidecars_do_a_complete_stop_leaves_nothing_open() {
    for ending in [Ending::ByOwner, Ending::ByClock] {
        let checker = Sharing { rules: Rules::AsBuilt, ending }.checker().spawn_bfs().join();
        checker.assert_properties();
    }
}

#[test]
fn every_rule_of_the_stop_is_needed() {
    // (rule broken, how the share ends, what no longer holds)
    let table = [
        (Rules::NoWait, Ending::ByOwner, NOTHING_OPEN),
        (Rules::NoMargin, Ending::ByOwner, NOTHING_OPEN),
        (Rules::GrantOnWatch, Ending::ByOwner, NONE_LATER),
        (Rules::GrantWithoutFinalizer, Ending::ByOwner, NOTHING_OPEN),
        (Rules::NoCutOnMissedRenewal, Ending::ByOwner, NOTHING_OPEN),
        (Rules::TermFromReceipt, Ending::ByOwner, NOTHING_OPEN),
        (Rules::ExpiryWithoutRecord, Ending::ByClock, NOTHING_OPEN),
    ];
    for (rules, ending, property) in table {
        let found = HasDiscoveries::AllOf([property].into());
        let checker = Sharing { rules, ending }.checker().finish_when(found).spawn_bfs().join();
        assert!(checker.discovery(property).is_some(), "{rules:?}");
    }
}
