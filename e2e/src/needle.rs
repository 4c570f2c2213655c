//! Looks for a value where it must not be, in every spelling that `e2e/peers` knows.
//!
//! A scan names the places in which it found the value. One that read nothing panics, because it would prove nothing.

use std::{
    collections::HashSet,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{App, app};

/// What is looked for.
pub struct Needle {
    base64: String,
    fingerprints: Value,
}

#[derive(Deserialize)]
struct Report {
    scanned: u64,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    place: String,
    spelling: String,
    offset: i64,
}

#[derive(Deserialize)]
struct Spelt {
    spelling: String,
    /// What is looked for, in base64.
    seen: String,
    body_only: bool,
}

impl Needle {
    /// For `value`.
    ///
    /// # Panics
    /// When the peers are not on the path.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its peers cannot go on")]
    pub fn new(value: &str) -> Self {
        let base64 = BASE64_STANDARD.encode(value);
        let printed = peers(&["fingerprint"], &base64, b"");
        Self { fingerprints: serde_json::from_slice(&printed).expect("fingerprints are JSON"), base64 }
    }

    /// The value in base64: how a canary is planted.
    #[must_use]
    pub fn base64(&self) -> &str {
        &self.base64
    }

    /// The names of the spellings that can stand anywhere in a message.
    ///
    /// # Panics
    /// When the peers are not on the path.
    #[track_caller]
    #[must_use]
    pub fn spellings(&self) -> Vec<String> {
        self.all_spellings().into_iter().filter(|one| !one.body_only).map(|one| one.spelling).collect()
    }

    /// Whether no two spellings of the value are the same bytes, as those of plain letters and digits are.
    ///
    /// # Panics
    /// When the peers are not on the path.
    #[track_caller]
    #[must_use]
    pub fn looks_different_in_each_spelling(&self) -> bool {
        let all = self.all_spellings();
        all.iter().map(|one| &one.seen).collect::<HashSet<_>>().len() == all.len()
    }

    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test without its peers cannot go on")]
    fn all_spellings(&self) -> Vec<Spelt> {
        serde_json::from_slice(&peers(&["spell"], &self.base64, b"")).expect("spellings are JSON")
    }

    /// Where it is in `bytes`.
    ///
    /// # Panics
    /// When there is nothing to search.
    #[track_caller]
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<String> {
        places(&peers(&["grep-canary", "-"], &self.base64, bytes))
    }

    /// Where it is in the files of `folder`, and in their names.
    ///
    /// # Panics
    /// When there is nothing to search.
    #[track_caller]
    #[must_use]
    pub fn under(&self, folder: &Path) -> Vec<String> {
        places(&peers(&["grep-canary", &folder.to_string_lossy()], &self.base64, b""))
    }

    /// Where it is in the memory of a process, 100 ms from now, while the process stands still.
    ///
    /// # Panics
    /// When its memory cannot be read.
    #[track_caller]
    #[must_use]
    pub fn in_process(&self, process: u32) -> Vec<String> {
        let process = process.to_string();
        places(&peers(&["mem-scan", "--freeze", "--after=100ms", "--pid", &process], &self.base64, b""))
    }

    /// Where it is in the memory of the app, as the app itself finds it. The value is not told to it.
    ///
    /// # Panics
    /// When the app does not answer.
    #[track_caller]
    #[must_use]
    pub fn in_memory_of(&self, app: &App) -> Vec<String> {
        let wish = json!({"fingerprints": self.fingerprints});
        places(app::post(&format!("{}/memory", app.control()), &wish).as_bytes())
    }

    /// Where it is in the files under `root` that the app can read.
    ///
    /// # Panics
    /// When the app does not answer.
    #[track_caller]
    #[must_use]
    pub fn in_files_of(&self, app: &App, root: &str) -> Vec<String> {
        let wish = json!({"fingerprints": self.fingerprints, "root": root});
        places(app::post(&format!("{}/files", app.control()), &wish).as_bytes())
    }
}

#[track_caller]
#[expect(clippy::expect_used, reason = "a scan without a report is none")]
fn places(report: &[u8]) -> Vec<String> {
    let report: Report = serde_json::from_slice(report).expect("a scan ends with a report");
    assert!(report.scanned > 0, "nothing was searched");
    let place = |hit: &Hit| format!("{} at {:#x}, spelt {}", hit.place, hit.offset, hit.spelling);
    report.hits.iter().map(place).collect()
}

/// What an applet printed, whose exit code says whether it found anything.
#[track_caller]
#[expect(clippy::expect_used, reason = "a test without its peers cannot go on")]
fn peers(arguments: &[&str], needle: &str, input: &[u8]) -> Vec<u8> {
    const FOUND: i32 = 3;
    let mut child = Command::new("keylend-peers")
        .args(arguments)
        .args(["--needle-base64", needle])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keylend-peers is on the path");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(input).expect("an applet that is given input reads it");
    drop(stdin);
    let ended = child.wait_with_output().expect("an applet ends");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(matches!(ended.status.code(), Some(0 | FOUND)), "{arguments:?}: {complaint}");
    ended.stdout
}
