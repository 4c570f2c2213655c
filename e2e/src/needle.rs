//! Looks for a value where it must not be, in every spelling that `e2e/peers` knows.
//!
//! A scan names the places in which it found the value. One that read nothing, or left something out, panics, because it
//! would prove nothing. Of a process the scanner itself passes over what holds nothing of its own: `[vvar]` and
//! `[vsyscall]`, which are the kernel's; of files it enters `/proc`, `/sys` and `/dev` only where asked to.

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

/// 12 bytes: more than what the values of all tests begin with.
const PIECE: &str = "--fragment=12";

/// How an applet ends its complaint of a file that went between being listed and being opened, as files of a pod that is
/// on its way out do: what is gone keeps nothing.
const GONE: &str = ": no such file or directory";

/// What is looked for.
pub struct Needle {
    base64: String,
    /// Options of the applets that look for it.
    options: &'static [&'static str],
    fingerprints: Value,
}

#[derive(Deserialize)]
struct Report {
    scanned: u64,
    unreadable: Vec<String>,
    #[serde(default)]
    unreadable_omitted: u64,
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
    /// What an upstream writes, in base64.
    written: String,
    /// What is looked for, in base64: the part of that which depends on the value alone.
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
    pub fn new(value: &str) -> Self {
        Self::sought(value, &[])
    }

    /// For `value` and every piece of it that is [`PIECE`] long, so that a half-masked or half-wiped one is found.
    ///
    /// # Panics
    /// When the peers are not on the path.
    #[track_caller]
    #[must_use]
    pub fn in_pieces(value: &str) -> Self {
        Self::sought(value, &[PIECE])
    }

    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test without its peers cannot go on")]
    fn sought(value: &str, options: &'static [&'static str]) -> Self {
        let mut needle = Self { base64: BASE64_STANDARD.encode(value), options, fingerprints: Value::Null };
        let printed = needle.peers(&["fingerprint"], b"");
        needle.fingerprints = serde_json::from_slice(&printed).expect("fingerprints are JSON");
        needle
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

    /// The body of an echo in all these spellings, each masked at least where it depends on the value alone.
    ///
    /// # Panics
    /// When the peers are not on the path.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "the peers write base64, and these spellings are text")]
    pub fn masked_echo(&self) -> String {
        let text = |base64: &String| {
            let bytes = BASE64_STANDARD.decode(base64).expect("base64");
            String::from_utf8(bytes).expect("text")
        };
        let spellings = self.all_spellings().into_iter().filter(|one| !one.body_only);
        let lines = spellings.map(|one| {
            let (written, seen) = (text(&one.written), text(&one.seen));
            format!("{}: {}\n", one.spelling, written.replace(&seen, &"*".repeat(seen.len())))
        });
        lines.collect()
    }

    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test without its peers cannot go on")]
    fn all_spellings(&self) -> Vec<Spelt> {
        serde_json::from_slice(&self.peers(&["spell"], b"")).expect("spellings are JSON")
    }

    /// Where it is in `bytes`.
    ///
    /// # Panics
    /// When there is nothing to search.
    #[track_caller]
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<String> {
        places(&self.peers(&["grep-canary", "-"], bytes))
    }

    /// Where it is in the files of `folder`, and in their names.
    ///
    /// # Panics
    /// When there is nothing to search.
    #[track_caller]
    #[must_use]
    pub fn under(&self, folder: &Path) -> Vec<String> {
        places(&self.peers(&["grep-canary", &folder.to_string_lossy()], b""))
    }

    /// Where it is in the memory of a process, 100 ms from now, while the process stands still.
    ///
    /// # Panics
    /// When its memory cannot be read.
    #[track_caller]
    #[must_use]
    pub fn in_process(&self, process: u32) -> Vec<String> {
        let process = process.to_string();
        places(&self.peers(&["mem-scan", "--freeze", "--after=100ms", "--pid", &process], b""))
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

    /// What an applet printed, whose exit code says whether it found anything.
    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test without its peers cannot go on")]
    fn peers(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        const FOUND: i32 = 3;
        let mut child = Command::new("keylend-peers")
            .args(arguments)
            .args(["--needle-base64", &self.base64])
            .args(self.options)
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
}

#[track_caller]
#[expect(clippy::expect_used, reason = "a scan without a report is none")]
fn places(report: &[u8]) -> Vec<String> {
    let report: Report = serde_json::from_slice(report).expect("a scan ends with a report");
    assert!(report.scanned > 0, "nothing was searched");
    let unread: Vec<_> = report.unreadable.iter().filter(|complaint| !complaint.ends_with(GONE)).collect();
    assert!(unread.is_empty(), "not searched: {unread:#?}");
    assert_eq!(report.unreadable_omitted, 0, "so many more may not have been searched");
    let place = |hit: &Hit| format!("{} at {:#x}, spelt {}", hit.place, hit.offset, hit.spelling);
    report.hits.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_that_left_something_out_is_none() {
        let denied = ["/a: no such file or directory", "/b: permission denied"];
        for (report, counts) in [
            (json!({"scanned": 9, "hits": [], "unreadable": []}), true),
            (json!({"scanned": 9, "hits": [], "unreadable": [denied[0]]}), true),
            (json!({"scanned": 0, "hits": [], "unreadable": []}), false),
            (json!({"scanned": 9, "hits": [], "unreadable": denied}), false),
            (json!({"scanned": 9, "hits": [], "unreadable": [], "unreadable_omitted": 1}), false),
            (json!({"scanned": 9, "hits": []}), false),
        ] {
            let read = std::panic::catch_unwind(|| places(report.to_string().as_bytes()));
            assert_eq!(read.is_ok(), counts, "{report}");
        }
    }
}
