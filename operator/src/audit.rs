//! The audit log: every use is on record before it happens.
//!
//! Promises: [`AuditLog::intent`] and its like return a [`Position`] only after the row is durable
//! (`fdatasync`), so whoever has one may go on; rows survive `kill -9`; the rows of a replica are one hash chain,
//! which [`inspect::inspect`] checks; no row holds a value; no caller can fill the log, or keep others from it; nobody
//! waits longer than [`Settings::patience`] for a disk that hangs.
//!
//! How: callers queue encoded rows (`row`, `text`); one thread (`writer`) takes all that wait, chains them
//! (`chain`), writes and syncs once (`store`, `segment`), answers, and passes the lines on to standard output
//! (`mirror`). `budget` decides which denials are written singly, `room` what the volume holds for whom. `recover`
//! reads what an earlier run left.
//!
//! Never add: Kubernetes, a row that nobody waits for but counts, a way to use without a [`Position`].

mod budget;
mod chain;
mod counters;
pub mod inspect;
mod mirror;
mod recover;
mod room;
pub mod row;
mod segment;
mod store;
mod text;
pub mod verify;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

pub use self::budget::DenialLimits;
pub use self::chain::{Digest, Head};
pub use self::counters::Reading;
pub use self::store::Settings;
pub use self::text::{Path, Text};

use self::budget::{Denial, Shares, Verdict};
use self::chain::MAX_LINE;
use self::counters::{Counters, count};
use self::mirror::Mirror;
use self::room::Purpose;
use self::row::{Alarm, Caller, Enrolment, Intent, Party, Refusal, Row, Write};
use self::store::Store;
use self::writer::{Job, Message, Waiter, Writer};

/// How many rows may wait; whoever comes later waits for a place.
const QUEUE_ROWS: usize = 4096;

/// How long those who ask may wait for a row: a caller waits two seconds at most.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How many alarms are written singly. What raises one may raise it for every pod: so few that they cannot fill the log,
/// and no caller's refusals count against them.
const ALARMS: DenialLimits =
    DenialLimits { interval: SignedDuration::from_mins(1), rows: 6, bytes: 16 * 1024, callers: 10 };

/// What a row may take before the chain adds its part.
const MAX_ROW: usize = MAX_LINE - 1024;

/// The log. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct AuditLog {
    queue: Sender<Message>,
    places: Arc<Semaphore>,
    patience: Duration,
    refusals: Arc<Mutex<Shares>>,
    alarms: Arc<Mutex<Shares>>,
    counters: Arc<Counters>,
}

/// Proof that a row is durable. Only the log makes one, and one row gives one: it cannot be copied.
#[derive(Debug, PartialEq, Eq)]
pub struct Position(Head);

impl Position {
    /// The row's number and hash.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0
    }
}

/// What became of a denial. It stands either way.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It has a durable row of its own.
    Row(Position),
    /// It will be part of a row that counts its kind.
    Counted,
}

/// Why a row is not in the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditFault {
    /// No room: of the volume, of the budget, or of this recipient's share of it.
    #[error("no room for an audit row")]
    Full,
    /// The disk failed.
    #[error("writing an audit row")]
    Write(#[source] Arc<io::Error>),
    /// The disk did not answer in time.
    #[error("the audit row was not durable in time")]
    Late,
    /// The row is longer than any row may be.
    #[error("the audit row is too long")]
    TooLong,
    /// The log is closed.
    #[error("the audit log has stopped")]
    Stopped,
}

impl From<io::Error> for AuditFault {
    fn from(error: io::Error) -> Self {
        let no_room = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        if no_room.contains(&error.kind()) { Self::Full } else { Self::Write(Arc::new(error)) }
    }
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The sizes do not fit together.
    #[error("an audit segment needs 64 KiB or more, and the budget four segments or more")]
    Sizes,
    /// The directory cannot be used.
    #[error("opening the audit log")]
    Open(#[from] io::Error),
}

impl AuditLog {
    /// Opens the log in its directory, goes on where the last run stopped, and copies each durable row to `mirror`.
    ///
    /// # Errors
    /// When the sizes do not fit, or the directory cannot be read or is in use.
    pub fn open(
        settings: Settings,
        denials: DenialLimits,
        mirror: impl io::Write + Send + 'static,
    ) -> Result<Self, OpenFault> {
        if settings.segment_bytes < 64 * 1024 || settings.budget_bytes / 4 < settings.segment_bytes {
            return Err(OpenFault::Sizes);
        }
        let patience = settings.patience;
        let (store, found) = Store::open(settings)?;
        tracing::info!(row = found.head.seq, hash = %found.head.hash, torn_bytes = found.torn_bytes, "the audit log goes on");
        for segment in &found.damaged {
            tracing::error!(segment, "an audit segment is damaged; it is kept as it is");
        }
        let counters = Arc::new(Counters::default());
        counters.segments_damaged.store(found.damaged.len() as u64, Ordering::Relaxed);
        let [refusals, alarms] = [denials, ALARMS].map(|limits| Arc::new(Mutex::new(Shares::new(limits))));
        let mirror = Mirror::start(mirror, Arc::clone(&counters))?;
        let writer = Writer::new(store, [&refusals, &alarms].map(Arc::clone), mirror, Arc::clone(&counters));
        let (queue, messages) = channel();
        thread::Builder::new().name("audit-writer".to_owned()).spawn(move || writer.run(&messages))?;
        let places = Arc::new(Semaphore::new(QUEUE_ROWS));
        Ok(Self { queue, places, patience, refusals, alarms, counters })
    }

    /// Records a use that is about to happen. Without the position there is no use.
    ///
    /// # Errors
    /// When the row is not durable within [`Settings::patience`].
    pub async fn intent(&self, row: Intent) -> Result<Position, AuditFault> {
        let recipient = Arc::from(row.caller.namespace_uid.as_str());
        self.commit(Purpose::Use(recipient), encode(&Row::Intent(row))?).await
    }

    /// Records that a container's key is about to be bound; it counts against its recipient, as uses do.
    ///
    /// # Errors
    /// When the row is not durable within [`Settings::patience`].
    pub async fn enrolment(&self, row: Enrolment) -> Result<Position, AuditFault> {
        let recipient = Arc::from(row.caller.namespace_uid.as_str());
        self.commit(Purpose::Use(recipient), encode(&Row::Enrolment(row))?).await
    }

    /// Records a change.
    ///
    /// # Errors
    /// When the row is not durable within [`Settings::patience`].
    pub async fn write(&self, row: Write) -> Result<Position, AuditFault> {
        self.commit(Purpose::Write, encode(&Row::Write(row))?).await
    }

    /// Records a refusal, singly or as one of many.
    pub async fn refusal(&self, row: Refusal) -> Recorded {
        let denial = Denial { by: party(row.caller.as_ref()), code: row.code };
        self.deny(&self.refusals, &denial, Purpose::Denial, &Row::Refusal(row)).await
    }

    /// Records something that a person should look at, singly or as one of many. No refusals can take its room or its turn.
    pub async fn alarm(&self, row: Alarm) -> Recorded {
        let denial = Denial { by: party(row.caller.as_ref()), code: row.concern.code() };
        self.deny(&self.alarms, &denial, Purpose::Write, &Row::Alarm(row)).await
    }

    /// What the log has done so far.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.counters.read()
    }

    /// Writes what waits and what is counted, closes the segment, and takes nothing more.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).is_ok() {
            let _ = closed.await;
        }
    }

    async fn deny(&self, shares: &Mutex<Shares>, denial: &Denial, purpose: Purpose, row: &Row) -> Recorded {
        let Ok(row) = encode(row) else { return self.count(shares, denial) };
        if self.counters.hangs() {
            return self.count(shares, denial);
        }
        if lock(shares).weigh(denial, row.len(), Timestamp::now()) == Verdict::Counted {
            count(&self.counters.counted, 1);
            return Recorded::Counted;
        }
        match self.commit(purpose, row).await {
            Ok(position) => Recorded::Row(position),
            // One that is late may be written after all: better on record twice than not at all.
            Err(_fault) => self.count(shares, denial),
        }
    }

    fn count(&self, shares: &Mutex<Shares>, denial: &Denial) -> Recorded {
        lock(shares).count(denial, Timestamp::now());
        count(&self.counters.counted, 1);
        Recorded::Counted
    }

    async fn commit(&self, purpose: Purpose, row: Vec<u8>) -> Result<Position, AuditFault> {
        timeout(self.patience, self.durable(purpose, row)).await.unwrap_or_else(|_late| {
            self.counters.note_late();
            Err(AuditFault::Late)
        })
    }

    async fn durable(&self, purpose: Purpose, row: Vec<u8>) -> Result<Position, AuditFault> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| AuditFault::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { row, purpose, waiter: Waiter::Caller(answer, place) };
        self.queue.send(Message::Commit(job)).map_err(|_| AuditFault::Stopped)?;
        answered.await.map_err(|_| AuditFault::Stopped)?
    }
}

fn party(caller: Option<&Caller>) -> Party {
    caller.cloned().map_or(Party::Unknown, Party::Caller)
}

fn encode(row: &Row) -> Result<Vec<u8>, AuditFault> {
    let encoded = serde_json::to_vec(row).map_err(io::Error::from)?;
    if encoded.len() <= MAX_ROW { Ok(encoded) } else { Err(AuditFault::TooLong) }
}

/// What the mutex guards is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
