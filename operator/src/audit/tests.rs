//! Scenarios with a real directory: group commit, coalescing, recovery, tampering.

use std::fs;
use std::io::{self, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::row::*;
use super::verify::{Flaw, Report, Verifier};
use super::*;

const DENIALS: DenialLimits =
    DenialLimits { interval: SignedDuration::from_secs(60), rows: 5, bytes: 64 * 1024, callers: 100 };

/// Longer than a disk takes that others use as well.
const A_WHILE: Duration = Duration::from_mins(1);

/// A log in `directory` with room for what tests of others write.
pub(crate) fn open_in(directory: &std::path::Path) -> AuditLog {
    fs::create_dir_all(directory).unwrap();
    let settings = Settings {
        directory: directory.to_owned(),
        replica: "keylend-operator-0".into(),
        incarnation: "i-1".into(),
        segment_bytes: 64 * 1024,
        budget_bytes: 1 << 20,
        minimum_retention: SignedDuration::from_hours(24),
        patience: A_WHILE,
    };
    AuditLog::open(settings, DenialLimits { rows: 50, callers: 10, ..DENIALS }, io::sink()).unwrap()
}

/// A directory of one test, gone afterwards.
pub(crate) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::under(&std::env::temp_dir())
    }

    /// For tests of what is read, where a real `fdatasync` only takes time.
    fn in_memory() -> Self {
        Self::under(std::path::Path::new("/dev/shm"))
    }

    fn under(parent: &std::path::Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("keylend-audit-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn settings(&self) -> Settings {
        Settings {
            directory: self.0.clone(),
            replica: "keylend-operator-0".to_owned(),
            incarnation: "i-1".to_owned(),
            segment_bytes: 256 * 1024,
            budget_bytes: 64 << 20,
            minimum_retention: SignedDuration::from_hours(24),
            patience: A_WHILE,
        }
    }

    pub(crate) fn open(&self) -> AuditLog {
        AuditLog::open(self.settings(), DENIALS, io::sink()).unwrap()
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
        segments.sort();
        segments
    }

    pub(crate) fn text(&self) -> String {
        self.segments().iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    fn verify(&self, known: impl IntoIterator<Item = Head>) -> Report {
        let mut verifier = Verifier::expecting(known);
        for path in self.segments() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            verifier.segment(&name, BufReader::new(fs::File::open(path).unwrap())).unwrap();
        }
        verifier.finish()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn caller(pod: &str) -> Caller {
    Caller {
        namespace: "partner".into(),
        namespace_uid: "5b1e7f0a-0000-4000-8000-000000000001".into(),
        pod: pod.into(),
        pod_uid: format!("uid-of-{pod}").as_str().into(),
        service_account: "checkout".into(),
    }
}

fn ids(call: usize) -> CallIds {
    let call_id = format!("call-{call}");
    CallIds {
        call_id: call_id.as_str().into(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        span_id: "00f067aa0ba902b7".into(),
    }
}

pub(super) fn intent(call: usize) -> Intent {
    Intent {
        call: ids(call),
        caller: caller("shop-1"),
        route: "stripe".into(),
        environment: "production".into(),
        secrets: vec![LentSecret {
            name: "stripe-api-key".into(),
            owner_namespace: "payments".into(),
            share_uid: "5b1e7f0a-0000-4000-8000-000000000002".into(),
        }],
        destination: Destination { host: "api.stripe.com".into(), port: 443 },
        method: "POST".into(),
        path: Path::of("/v1/charges?expand=customer"),
    }
}

fn refusal(pod: &str, code: &'static str) -> Refusal {
    Refusal {
        code,
        call: Some(ids(0)),
        caller: Some(caller(pod)),
        route: Some("stripe".into()),
        environment: None,
        secrets: Vec::new(),
        destination: None,
        method: None,
        path: None,
    }
}

fn write() -> Write {
    Write {
        change: Change::ShareStopped,
        object: Object {
            kind: "SecretShare",
            namespace: "payments".into(),
            name: "partner".into(),
            uid: "u".into(),
        },
        environment: None,
        field: None,
        version: None,
    }
}

/// Commits intents at the same time.
async fn commit_many(log: &AuditLog, calls: usize) -> Vec<Head> {
    let mut tasks = Vec::new();
    for call in 0..calls {
        let log = log.clone();
        tasks.push(tokio::spawn(async move { log.intent(intent(call)).await.unwrap().head() }));
    }
    let mut heads = Vec::new();
    for task in tasks {
        heads.push(task.await.unwrap());
    }
    heads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_commits_at_once_share_few_syncs_and_one_chain() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let heads = commit_many(&log, 1000).await;
    let reading = log.reading();
    assert!(reading.rows > 1000, "{reading:?}");
    assert!(reading.syncs < 200, "{reading:?}");
    log.close().await;
    let report = scratch.verify(heads);
    assert_eq!(report.findings, []);
    assert_eq!(report.after, Some(Head::GENESIS));
    assert!(scratch.segments().len() > 1, "the rows fill more than one segment");
}

#[tokio::test]
async fn a_row_says_who_what_and_where_and_nothing_of_the_query() {
    let scratch = Scratch::new();
    let log = scratch.open();
    log.intent(intent(7)).await.unwrap();
    log.close().await;
    let text = scratch.text();
    let row = text.lines().find(|line| line.contains("\"kind\":\"intent\"")).unwrap();
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    assert_eq!(row["caller"]["pod"], "shop-1");
    assert_eq!(row["call_id"], "call-7");
    assert_eq!(row["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(row["secrets"][0]["name"], "stripe-api-key");
    assert_eq!(row["destination"]["host"], "api.stripe.com");
    assert_eq!(row["path"], "/v1/charges");
    assert_eq!(row["replica"], "keylend-operator-0");
    assert!(row["time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn the_mirror_shows_exactly_the_rows_that_are_durable() {
    let scratch = Scratch::new();
    let (mut mirrored, output) = io::pipe().unwrap();
    let log = AuditLog::open(scratch.settings(), DENIALS, output).unwrap();
    for call in 0..10 {
        log.intent(intent(call)).await.unwrap();
    }
    log.close().await;
    drop(log);
    let mut copy = String::new();
    io::Read::read_to_string(&mut mirrored, &mut copy).unwrap();
    assert_eq!(copy, scratch.text());
}

#[tokio::test]
async fn a_caller_that_loops_refusals_gets_its_share_and_a_count() {
    let scratch = Scratch::new();
    let log = scratch.open();
    for _ in 0..1000 {
        log.refusal(refusal("looping", "secret_unknown")).await;
    }
    let alarm = Alarm { concern: Concern::TokenReplayed, caller: Some(caller("looping")), object: None };
    assert_ne!(log.alarm(alarm.clone()).await, Recorded::Counted, "no refusals take an alarm's turn");
    for _ in 0..10 {
        log.alarm(alarm.clone()).await;
    }
    assert_ne!(log.refusal(refusal("other", "secret_unknown")).await, Recorded::Counted);
    log.close().await;
    let text = scratch.text();
    assert_eq!(text.matches("\"kind\":\"refusal\"").count(), 6);
    let counts: Vec<serde_json::Value> = text
        .lines()
        .filter(|line| line.contains("\"kind\":\"coalesced\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(counts.len(), 2);
    assert_eq!(
        (counts[0]["code"].as_str(), counts[0]["count"].as_u64()),
        (Some("secret_unknown"), Some(995))
    );
    assert_eq!((counts[1]["code"].as_str(), counts[1]["count"].as_u64()), (Some("token_replayed"), Some(5)));
    assert_eq!(counts[0]["by"]["caller"]["pod"], "looping");
    assert_eq!(scratch.verify([]).findings, []);
}

#[tokio::test]
async fn counts_are_written_once_their_interval_is_over() {
    let scratch = Scratch::new();
    let denials = DenialLimits { interval: SignedDuration::from_millis(100), ..DENIALS };
    let log = AuditLog::open(scratch.settings(), denials, io::sink()).unwrap();
    for _ in 0..1000 {
        log.refusal(refusal("looping", "secret_unknown")).await;
    }
    let started = Instant::now();
    while !scratch.text().contains("\"kind\":\"coalesced\"") {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_count_that_finds_no_room_is_kept_until_there_is_some() {
    let scratch = Scratch::new();
    let settings = Settings { segment_bytes: 64 * 1024, budget_bytes: 256 * 1024, ..scratch.settings() };
    let denials = DenialLimits {
        interval: SignedDuration::from_millis(1),
        rows: u32::MAX,
        bytes: usize::MAX,
        callers: 9,
    };
    let log = AuditLog::open(settings, denials, io::sink()).unwrap();
    while log.refusal(refusal("looping", "secret_unknown")).await != Recorded::Counted {}
    let tried = log.reading().full + 1;
    let started = Instant::now();
    while log.reading().full <= tried {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    log.close().await;
    let kept = lock(&log.refusals).rest();
    assert_eq!(kept.iter().map(|row| row.count).sum::<u64>(), log.reading().counted);
}

#[tokio::test]
async fn a_log_that_is_in_use_is_not_opened_twice() {
    let scratch = Scratch::new();
    let log = scratch.open();
    assert!(matches!(AuditLog::open(scratch.settings(), DENIALS, io::sink()), Err(OpenFault::Open(_))));
    log.close().await;
}

#[tokio::test]
async fn a_closed_log_records_nothing_and_says_so() {
    let scratch = Scratch::new();
    let log = scratch.open();
    log.close().await;
    assert!(matches!(log.intent(intent(1)).await, Err(AuditFault::Stopped)));
    assert_eq!(log.refusal(refusal("a", "secret_unknown")).await, Recorded::Counted);
}

/// A log whose disk hangs: what is queued is never written.
pub(crate) struct Hung(std::sync::mpsc::Receiver<Message>);

pub(crate) fn hung(patience: Duration) -> (AuditLog, Hung) {
    let (queue, messages) = channel();
    let log = AuditLog {
        queue,
        places: Arc::new(Semaphore::new(QUEUE_ROWS)),
        patience,
        refusals: Arc::new(Mutex::new(Shares::new(DENIALS))),
        alarms: Arc::new(Mutex::new(Shares::new(ALARMS))),
        counters: Arc::default(),
    };
    (log, Hung(messages))
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_a_second_for_a_disk_that_hangs() {
    let (log, disk) = hung(PATIENCE);
    let started = tokio::time::Instant::now();
    assert!(matches!(log.intent(intent(1)).await, Err(AuditFault::Late)));
    assert!(matches!(log.write(write()).await, Err(AuditFault::Late)));
    assert_eq!(log.refusal(refusal("a", "secret_unknown")).await, Recorded::Counted);
    assert_eq!(started.elapsed(), Duration::from_secs(2), "a refusal does not wait as well");
    assert_eq!((log.reading().late, disk.0.try_iter().count()), (2, 2));
}

#[tokio::test]
async fn a_row_that_is_too_long_is_no_row() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let mut wordy = intent(1);
    wordy.secrets = vec![wordy.secrets[0].clone(); 1000];
    assert!(matches!(log.intent(wordy).await, Err(AuditFault::TooLong)));
}

#[tokio::test]
async fn every_cut_of_the_last_bytes_recovers_to_the_last_whole_row() {
    let scratch = Scratch::new();
    let log = scratch.open();
    for call in 0..3 {
        log.intent(intent(call)).await.unwrap();
    }
    // What a killed process leaves: no closing row.
    let killed = fs::read(&scratch.segments()[0]).unwrap();
    log.close().await;
    let ends: Vec<usize> = (0..killed.len()).filter(|&at| killed[at] == b'\n').collect();
    for cut in ends[1] + 1..=killed.len() {
        let crashed = Scratch::in_memory();
        fs::write(crashed.0.join("00000000000000000001.jsonl"), &killed[..cut]).unwrap();
        let log = crashed.open();
        let next = log.intent(intent(99)).await.unwrap().head();
        log.close().await;
        let whole = ends.iter().filter(|&&end| end < cut).count() as u64;
        assert_eq!(next.seq, whole + 2, "cut at {cut}: the rows, a new segment's first row, the new row");
        assert_eq!(crashed.verify([next]).findings, [], "cut at {cut}");
    }
}

#[tokio::test]
async fn a_segment_that_lost_even_its_first_row_is_begun_again() {
    let scratch = Scratch::new();
    let log = scratch.open();
    log.intent(intent(0)).await.unwrap();
    log.close().await;
    drop(log);
    for torn in ["", "{\"seq\":4,\"ti"] {
        fs::write(scratch.0.join("00000000000000000004.jsonl"), torn).unwrap();
        let log = scratch.open();
        log.intent(intent(1)).await.unwrap();
        assert_eq!(scratch.verify([]).findings, []);
        log.close().await;
        drop(log);
        fs::remove_file(scratch.0.join("00000000000000000004.jsonl")).unwrap();
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_kept_and_reported_and_never_cut_away() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let heads = commit_many(&log, 5).await;
    let path = scratch.segments()[0].clone();
    let mut damaged = fs::read(&path).unwrap();
    log.close().await;
    drop(log);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let log = scratch.open();
    assert_eq!(log.reading().segments_damaged, 1);
    let next = log.intent(intent(9)).await.unwrap().head();
    log.close().await;
    assert_eq!(fs::read(&path).unwrap(), damaged);
    assert_eq!(next.seq, heads.iter().map(|head| head.seq).max().unwrap() + 2);
    let report = scratch.verify([]);
    assert_eq!(report.last.unwrap().seq, next.seq + 1);
    assert!(!report.findings.is_empty());
}

#[tokio::test]
async fn aged_segments_make_room_and_young_ones_do_not() {
    for (retention, outcome) in [(SignedDuration::ZERO, "dropped"), (SignedDuration::from_hours(1), "full")] {
        let scratch = Scratch::new();
        let mut settings = scratch.settings();
        (settings.segment_bytes, settings.budget_bytes) = (64 * 1024, 256 * 1024);
        settings.minimum_retention = retention;
        let log = AuditLog::open(settings, DENIALS, io::sink()).unwrap();
        let mut refused = 0;
        for call in 0..1000 {
            refused += usize::from(matches!(log.intent(intent(call)).await, Err(AuditFault::Full)));
        }
        let reading = log.reading();
        assert!(reading.bytes <= 256 * 1024);
        match outcome {
            "dropped" => assert!(refused == 0 && reading.segments_dropped > 0, "{reading:?}"),
            _ => assert!(refused > 0 && reading.segments_dropped == 0, "{reading:?}"),
        }
        log.write(write()).await.unwrap();
        log.close().await;
        let report = scratch.verify([]);
        assert_eq!(report.findings, []);
        assert_eq!(report.after == Some(Head::GENESIS), outcome == "full");
    }
}

#[tokio::test]
async fn each_kind_of_tampering_is_found_and_located() {
    let scratch = Scratch::new();
    let log = scratch.open();
    for call in 0..4 {
        log.intent(intent(call)).await.unwrap();
    }
    log.close().await;
    let path = scratch.segments()[0].clone();
    let good = fs::read_to_string(&path).unwrap();
    let last = scratch.verify([]).last.unwrap();
    let rows: Vec<&str> = good.lines().collect();
    let edited = rows[2].replace("api.stripe.com", "api.strine.com");
    // (what was done, the rows now, the flaw and its line)
    let table = [
        ("nothing", rows.clone(), None),
        ("edited", [&rows[..2], &[&edited], &rows[3..]].concat(), Some((3, Flaw::Edited { seq: 3 }))),
        ("one row cut out", [&rows[..2], &rows[3..]].concat(), Some((3, Flaw::Missing { from: 3, to: 3 }))),
        ("two rows cut out", [&rows[..2], &rows[4..]].concat(), Some((3, Flaw::Missing { from: 3, to: 4 }))),
        (
            "swapped",
            [&rows[..2], &[rows[3], rows[2]], &rows[4..]].concat(),
            Some((3, Flaw::Missing { from: 3, to: 3 })),
        ),
        ("repeated", [&rows[..3], &rows[2..]].concat(), Some((4, Flaw::Reordered { seq: 3, after: 3 }))),
        ("head cut off", rows[1..].to_vec(), Some((1, Flaw::Beheaded))),
        ("tail cut off", rows[..4].to_vec(), Some((5, Flaw::Unmet { seq: last.seq }))),
        ("junk put in", [&rows[..2], &["{}"], &rows[2..]].concat(), Some((3, Flaw::Unreadable))),
    ];
    for (done, now, expected) in table {
        fs::write(&path, now.join("\n") + "\n").unwrap();
        let report = scratch.verify([last]);
        let found = report.findings.into_iter().next().map(|finding| (finding.line, finding.flaw));
        assert_eq!(found, expected, "{done}");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(scratch.verify([]).findings[0].flaw, Flaw::Torn);
}

#[tokio::test]
async fn a_row_that_was_written_anew_with_a_right_hash_is_detached_from_the_next() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let heads = [log.intent(intent(0)).await.unwrap().head(), log.intent(intent(1)).await.unwrap().head()];
    log.close().await;
    let path = scratch.segments()[0].clone();
    let text = fs::read_to_string(&path).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    let opened = chain::Link::read(rows[0].as_bytes()).unwrap().head;
    let mut forged = Vec::new();
    let prefix = chain::Prefix::new(Timestamp::UNIX_EPOCH, "\"keylend-operator-0\"");
    opened.append(&mut forged, &prefix, &encode(&Row::Intent(intent(666))).unwrap());
    let mut file = fs::File::create(&path).unwrap();
    writeln!(file, "{}", rows[0]).unwrap();
    file.write_all(&forged).unwrap();
    writeln!(file, "{}\n{}", rows[2], rows[3]).unwrap();
    let flaws: Vec<_> = scratch.verify(heads).findings.into_iter().map(|finding| finding.flaw).collect();
    assert_eq!(flaws, [Flaw::Detached { seq: 3 }, Flaw::Unmet { seq: 2 }]);
}
