//! What the audit log acknowledged is there: after `kill -9`, on a volume that is full, on a disk that fails.
//!
//! The log runs in processes of its own (this binary again), because they are killed, and because their volumes
//! are mounted in mount namespaces that end with them. Needs root for the mounts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use keylend_operator::audit::row::{CallIds, Caller, Destination, Intent, Refusal};
use keylend_operator::audit::verify::Verifier;
use keylend_operator::audit::{AuditFault, AuditLog, DenialLimits, Head, Recorded, Settings};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.as_slice() {
        ["in-child", "commit", directory] => runtime.block_on(commit_until_killed(Path::new(directory))),
        ["in-child", "starve", directory, filler, segments] => {
            runtime.block_on(starve(Path::new(directory), Path::new(filler), segments.parse()?))
        }
        ["in-child", "flood", directory] => runtime.block_on(flood(Path::new(directory))),
        _ => all(),
    }
}

fn all() -> Outcome {
    for (name, test) in [
        ("no_acknowledged_row_is_lost_to_kill_9", no_acknowledged_row_is_lost_to_kill_9 as fn() -> Outcome),
        ("a_full_volume_refuses_and_recovers", a_full_volume_refuses_and_recovers),
        ("a_disk_that_fails_to_sync_refuses_and_recovers", a_disk_that_fails_to_sync_refuses_and_recovers),
        ("refusals_leave_room_for_uses_on_a_small_volume", refusals_leave_room_for_uses_on_a_small_volume),
    ] {
        let outcome = test();
        writeln!(io::stdout(), "test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" })?;
        outcome?;
    }
    Ok(())
}

fn no_acknowledged_row_is_lost_to_kill_9() -> Outcome {
    let scratch = Scratch::new()?;
    let mut acknowledged = BTreeMap::new();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["in-child", "commit"])
            .arg(&scratch.0)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (begun, beginning) = mpsc::channel();
        let reader = thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            let tell = |_: &String| {
                // Only the first is waited for.
                let _ = begun.send(());
            };
            lines.inspect(tell).collect::<Vec<_>>()
        });
        beginning.recv_timeout(Duration::from_mins(1))?;
        thread::sleep(Duration::from_millis(37 * round));
        child.kill()?;
        child.wait()?;
        let before = acknowledged.len();
        for line in reader.join().map_err(|_| "the reader failed")? {
            // The kill may cut the last line.
            if let Ok(head) = serde_json::from_str::<Head>(&line) {
                acknowledged.insert(head.seq, head);
            }
        }
        assert!(acknowledged.len() > before, "round {round} acknowledged nothing");
    }
    // The last kill may have left half a row at the end; opening cuts it away.
    drop(open(&scratch.0)?);
    verify(&scratch.0, acknowledged.into_values())
}

fn a_full_volume_refuses_and_recovers() -> Outcome {
    in_volume(
        "mount -t tmpfs -o size=1m tmpfs .; cd \"$PWD\"; mkdir log; exec \"$0\" in-child starve log filler 1",
    )
}

/// A file system on a sparse file on a small volume: when that volume is full, writing succeeds and syncing fails.
fn a_disk_that_fails_to_sync_refuses_and_recovers() -> Outcome {
    in_volume(
        "mount -t tmpfs -o size=4m tmpfs .; cd \"$PWD\"; truncate -s 16m disk; mkfs.ext2 -q disk; mkdir log
         mount -o loop disk log; exec \"$0\" in-child starve log filler 4",
    )
}

fn refusals_leave_room_for_uses_on_a_small_volume() -> Outcome {
    in_volume("mount -t tmpfs -o size=1m tmpfs .; cd \"$PWD\"; mkdir log; exec \"$0\" in-child flood log")
}

/// Runs `script` in a mount namespace and a directory of its own.
fn in_volume(script: &str) -> Outcome {
    let scratch = Scratch::new()?;
    let script = format!("set -e; {script}");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(std::env::current_exe()?)
        .current_dir(&scratch.0)
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("{script}: {status}").into()) }
}

/// Commits from 64 tasks, and says what was acknowledged.
async fn commit_until_killed(directory: &Path) -> Outcome {
    let log = open(directory)?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let log = log.clone();
        tasks.spawn(async move {
            while let Ok(position) = log.intent(intent("shop")).await {
                let Ok(line) = serde_json::to_string(&position.head()) else { return };
                if writeln!(io::stdout(), "{line}").is_err() {
                    return;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Err("the log stopped by itself".into())
}

/// Takes the volume's room away and gives it back, three times; the rows then stand in so many segments.
async fn starve(directory: &Path, filler: &Path, segments: usize) -> Outcome {
    let log = open(directory)?;
    let mut acknowledged = vec![log.intent(intent("shop")).await?.head()];
    for _ in 0..3 {
        fill(filler)?;
        // Many at once: what they leave behind is longer than the row that comes next, so it would show.
        let fault = loop {
            let together = futures_util::future::join_all((0..64).map(|_| log.intent(intent("shop")))).await;
            let (positions, mut faults): (Vec<_>, Vec<_>) = together.into_iter().partition(Result::is_ok);
            acknowledged.extend(positions.into_iter().flatten().map(|position| position.head()));
            if let Some(Err(fault)) = faults.pop() {
                break fault;
            }
        };
        assert!(matches!(fault, AuditFault::Full | AuditFault::Write(_)), "{fault:?}");
        fs::remove_file(filler)?;
        acknowledged.push(within_a_second(&log).await?);
        verify(directory, acknowledged.clone())?;
    }
    log.close().await;
    assert_eq!(segments_of(directory)?.len(), segments);
    verify(directory, acknowledged)
}

async fn within_a_second(log: &AuditLog) -> Result<Head, Box<dyn Error>> {
    let started = Instant::now();
    loop {
        match log.intent(intent("shop")).await {
            Ok(position) => return Ok(position.head()),
            Err(fault) if started.elapsed() > Duration::from_secs(1) => return Err(fault.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One pod loops refusals until the log takes no more of them; another pod's uses go on.
async fn flood(directory: &Path) -> Outcome {
    let log = open(directory)?;
    while log.refusal(refusal("looping")).await != Recorded::Counted {}
    let mut acknowledged = Vec::new();
    for _ in 0..100 {
        acknowledged.push(log.intent(intent("shop")).await?.head());
        log.refusal(refusal("looping")).await;
    }
    log.close().await;
    verify(directory, acknowledged)
}

/// More than any volume of these tests holds.
const FILLER_BYTES: usize = 64 << 20;

fn fill(filler: &Path) -> Outcome {
    let mut file = File::create(filler)?;
    for bytes in [4096, 1] {
        let mut written = 0;
        while file.write_all(&vec![0; bytes]).is_ok() {
            written += bytes;
            assert!(written < FILLER_BYTES, "the volume has no bound; this would fill the machine's disk");
        }
    }
    Ok(())
}

fn open(directory: &Path) -> Result<AuditLog, Box<dyn Error>> {
    let settings = Settings {
        directory: directory.to_owned(),
        replica: "keylend-operator-0".to_owned(),
        incarnation: std::process::id().to_string(),
        segment_bytes: 256 * 1024,
        budget_bytes: 256 << 20,
        minimum_retention: SignedDuration::from_hours(24),
        patience: Duration::from_mins(1),
    };
    let unlimited = DenialLimits {
        interval: SignedDuration::from_secs(60),
        rows: u32::MAX,
        bytes: usize::MAX,
        callers: 100,
    };
    Ok(AuditLog::open(settings, unlimited, io::sink())?)
}

fn caller(pod: &str) -> Caller {
    Caller {
        namespace: pod.into(),
        namespace_uid: pod.into(),
        pod: pod.into(),
        pod_uid: pod.into(),
        service_account: "default".into(),
    }
}

fn call() -> CallIds {
    CallIds { call_id: "call".into(), trace_id: "trace".into(), span_id: "span".into() }
}

fn intent(pod: &str) -> Intent {
    Intent {
        call: call(),
        caller: caller(pod),
        route: "stripe".into(),
        environment: "production".into(),
        secrets: Vec::new(),
        destination: Destination { host: "api.stripe.com".into(), port: 443 },
        method: "POST".into(),
        path: keylend_operator::audit::Path::of("/v1/charges"),
    }
}

fn refusal(pod: &str) -> Refusal {
    Refusal {
        code: "secret_unknown",
        call: Some(call()),
        caller: Some(caller(pod)),
        route: None,
        environment: None,
        secrets: Vec::new(),
        destination: None,
        method: None,
        path: None,
    }
}

/// One unbroken chain, with every acknowledged row in it.
fn verify(directory: &Path, acknowledged: impl IntoIterator<Item = Head>) -> Outcome {
    let mut verifier = Verifier::expecting(acknowledged);
    for path in segments_of(directory)? {
        verifier.segment(&path.display().to_string(), BufReader::new(File::open(&path)?))?;
    }
    let report = verifier.finish();
    if report.findings.is_empty() { Ok(()) } else { Err(format!("{:?}", report.findings).into()) }
}

fn segments_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        segments.push(entry?.path());
    }
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    segments.sort();
    Ok(segments)
}

/// A directory that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("keylend-durable-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
