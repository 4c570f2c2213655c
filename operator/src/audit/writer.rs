//! The one thread that writes the log.
//!
//! It takes all rows that wait, writes them at once, syncs once, and answers everybody: `commit` is the one place
//! where a row is written, made durable and acknowledged, in this order. A row that fails is answered too, is cut
//! away, and leaves the chain where it was; the next batch finds out whether the disk has recovered.
//!
//! Never add: a row that is answered before `fdatasync`, or written anywhere else.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::budget::Shares;
use super::chain::Head;
use super::counters::{Counters, count};
use super::mirror::Mirror;
use super::room::Purpose;
use super::row::{Coalesced, Row};
use super::store::{Lines, Store};
use super::{AuditFault, Position, encode, lock};
use crate::fault::with_causes;

/// How often counts are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What the thread is asked.
pub(super) enum Message {
    Commit(Job),
    Close(oneshot::Sender<()>),
}

/// A row that waits.
pub(super) struct Job {
    /// The row as JSON, without what the chain adds.
    pub(super) row: Vec<u8>,
    pub(super) purpose: Purpose,
    pub(super) waiter: Waiter,
}

/// Who wants to know what became of a row.
pub(super) enum Waiter {
    /// The permit is a place in the queue, free again once the row is answered.
    Caller(oneshot::Sender<Result<Position, AuditFault>>, OwnedSemaphorePermit),
    /// A count goes back to where it came from if it could not be written.
    Count(Box<Coalesced>),
}

/// The thread's belongings.
pub(super) struct Writer {
    store: Store,
    /// Of refusals, and of alarms.
    shares: [Arc<Mutex<Shares>>; 2],
    mirror: Mirror,
    counters: Arc<Counters>,
    health: Health,
}

/// Whether the last batch was written; so that a failing disk is logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Failing,
}

/// A row and its place in the chain, once its batch is durable.
struct Placed {
    head: Head,
    bytes: u64,
    job: Job,
}

enum Closing {
    No,
    /// Nobody can ask any more.
    Abandoned,
    Asked(oneshot::Sender<()>),
}

impl Writer {
    pub(super) fn new(
        store: Store,
        shares: [Arc<Mutex<Shares>>; 2],
        mirror: Mirror,
        counters: Arc<Counters>,
    ) -> Self {
        Self { store, shares, mirror, counters, health: Health::Well }
    }

    /// Serves the queue until the log is closed.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        let mut looked = Instant::now();
        loop {
            let (mut jobs, closing) = gather(queue);
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                let due = self.shares.iter().flat_map(|shares| lock(shares).due(Timestamp::now()));
                jobs.extend(due.map(count_job));
            }
            self.commit_all(jobs);
            match closing {
                Closing::No => {}
                Closing::Abandoned => return self.close(),
                Closing::Asked(done) => {
                    self.close();
                    // Whoever waits may open the directory again at once.
                    drop(self);
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn commit_all(&mut self, mut jobs: VecDeque<Job>) {
        while !jobs.is_empty() {
            let now = Timestamp::now();
            let prepared = self.store.prepare(now);
            self.mirror_own();
            match prepared {
                Ok(()) => self.commit(&mut jobs, now),
                Err(error) => {
                    let fault = self.failed(error);
                    jobs.drain(..).for_each(|job| self.refuse(job, &fault));
                }
            }
        }
    }

    /// Writes as many of `jobs` as the open segment takes, syncs, and only then answers.
    fn commit(&mut self, jobs: &mut VecDeque<Job>, now: Timestamp) {
        let (lines, rows) = self.compose(jobs, now);
        if rows.is_empty() {
            return;
        }
        match self.store.append(&lines) {
            Ok(()) => self.acknowledge(lines, rows),
            Err(error) => self.withdraw(error, rows),
        }
    }

    fn compose(&mut self, jobs: &mut VecDeque<Job>, now: Timestamp) -> (Lines, Vec<Placed>) {
        let mut lines = self.store.lines(now);
        let mut rows = Vec::with_capacity(jobs.len());
        while self.store.takes_more(&lines) {
            let Some(job) = jobs.pop_front() else { break };
            match self.store.add(&mut lines, &job.purpose, &job.row) {
                Ok((bytes, head)) => rows.push(Placed { head, bytes, job }),
                Err(fault) => self.refuse(job, &fault),
            }
        }
        (lines, rows)
    }

    fn acknowledge(&mut self, lines: Lines, rows: Vec<Placed>) {
        let written = rows.len() as u64;
        for Placed { head, job, .. } in rows {
            if let Waiter::Caller(answer, _permit) = job.waiter {
                // Who has gone away does not use what it asked for: a row without a use is allowed.
                let _ = answer.send(Ok(Position(head)));
            }
        }
        if self.health == Health::Failing {
            tracing::info!("the audit log is written again");
        }
        self.health = Health::Well;
        self.mirror(lines.bytes, written);
    }

    fn withdraw(&mut self, error: io::Error, rows: Vec<Placed>) {
        let fault = self.failed(error);
        for Placed { bytes, job, .. } in rows {
            self.store.take_back(&job.purpose, bytes);
            self.refuse(job, &fault);
        }
    }

    fn failed(&mut self, error: io::Error) -> AuditFault {
        if self.health == Health::Well {
            tracing::error!(
                error = with_causes(&error),
                "the audit log cannot be written; nothing is granted until it can"
            );
        }
        self.health = Health::Failing;
        self.store.look_at_volume();
        AuditFault::from(error)
    }

    fn refuse(&self, job: Job, fault: &AuditFault) {
        match fault {
            AuditFault::Full => count(&self.counters.full, 1),
            AuditFault::Write(_) | AuditFault::Late | AuditFault::TooLong | AuditFault::Stopped => {
                count(&self.counters.faults, 1);
            }
        }
        match job.waiter {
            Waiter::Caller(answer, _permit) => {
                let _ = answer.send(Err(fault.clone()));
            }
            // Whichever counted it, it is a count of one caller and code.
            Waiter::Count(row) => lock(&self.shares[0]).restore(*row),
        }
    }

    fn mirror_own(&mut self) {
        for line in self.store.take_own() {
            self.mirror(line, 1);
        }
    }

    fn mirror(&self, lines: Vec<u8>, rows: u64) {
        count(&self.counters.rows, rows);
        count(&self.counters.syncs, 1);
        self.counters.bytes.store(self.store.bytes(), Ordering::Relaxed);
        self.counters.segments_dropped.store(self.store.dropped(), Ordering::Relaxed);
        self.mirror.pass(lines, rows);
    }

    fn close(&mut self) {
        let counts = self.shares.iter().flat_map(|shares| lock(shares).rest());
        let counts = counts.map(count_job).collect();
        self.commit_all(counts);
        if let Err(error) = self.store.close(Timestamp::now()) {
            self.failed(error);
        }
        self.mirror_own();
    }
}

/// Waits for a row, then takes all that are there.
fn gather(queue: &Receiver<Message>) -> (VecDeque<Job>, Closing) {
    let mut jobs = VecDeque::new();
    let mut next = match queue.recv_timeout(TICK) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => return (jobs, Closing::Abandoned),
    };
    while let Some(message) = next {
        match message {
            Message::Commit(job) => jobs.push_back(job),
            Message::Close(done) => return (jobs, Closing::Asked(done)),
        }
        next = queue.try_recv().ok();
    }
    (jobs, Closing::No)
}

fn count_job(count: Coalesced) -> Job {
    let row = encode(&Row::Coalesced(count.clone())).unwrap_or_default();
    Job { row, purpose: Purpose::Denial, waiter: Waiter::Count(Box::new(count)) }
}
