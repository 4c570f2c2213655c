//! A packet capture in the cluster's network, for what a test must see on the wire.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

/// A running capture; it ends with [`Self::end`] or when dropped.
pub struct Capture {
    tcpdump: Child,
    printed: Option<JoinHandle<String>>,
    last_words: Option<JoinHandle<String>>,
}

impl Capture {
    /// Begins to capture what `filter` matches (`man pcap-filter`), on every interface.
    ///
    /// # Panics
    /// When there is no tcpdump, or it does not know the filter.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its capture cannot go on")]
    pub fn of(filter: &str) -> Self {
        let mut tcpdump = Command::new("tcpdump")
            .args(["--interface=any", "--immediate-mode", "-n", "-q", "-tt", "-l", "-Z", "root"])
            // Heads are enough, and the buffer holds the more of them.
            .args(["--snapshot-length=256", filter])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is on the path");
        let mut packets = tcpdump.stdout.take().expect("standard output is a pipe");
        let mut complaints = BufReader::new(tcpdump.stderr.take().expect("standard error is a pipe"));
        let mut said = String::new();
        while !said.contains("listening on") {
            let read = complaints.read_line(&mut said).expect("tcpdump speaks UTF-8");
            assert!(read > 0, "tcpdump does not listen: {said}");
        }
        let printed = std::thread::spawn(move || {
            let mut all = String::new();
            packets.read_to_string(&mut all).expect("tcpdump speaks UTF-8");
            all
        });
        let last_words = std::thread::spawn(move || {
            let mut all = String::new();
            complaints.read_to_string(&mut all).expect("tcpdump speaks UTF-8");
            all
        });
        Self { tcpdump, printed: Some(printed), last_words: Some(last_words) }
    }

    /// Begins to capture what carries something over TCP toward `address` and `port`.
    ///
    /// # Panics
    /// When there is no tcpdump.
    #[track_caller]
    #[must_use]
    pub fn of_payload_toward(address: &str, port: u16) -> Self {
        const PAYLOAD: &str = "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0";
        Self::of(&format!("tcp and dst host {address} and dst port {port} and {PAYLOAD}"))
    }

    /// Ends it, and gives back a line for each packet: its time in seconds since 1970, and what it was.
    ///
    /// # Panics
    /// When packets were lost, or tcpdump cannot be ended.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its capture cannot go on")]
    pub fn end(mut self) -> Vec<String> {
        self.interrupt();
        let [printed, said] = [self.printed.take(), self.last_words.take()]
            .map(|read| read.expect("a capture ends once").join().expect("it was read to its end"));
        let whole = said.lines().any(|line| line.starts_with("0 packets dropped by kernel"));
        assert!(whole, "the capture is not whole: {said}");
        // An interrupted tcpdump ends with an empty line.
        printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// As Ctrl-C does: what was captured is printed first.
    fn interrupt(&mut self) {
        // What is over already needs no signal.
        let _ = Command::new("kill").args(["-INT", &self.tcpdump.id().to_string()]).status();
        let _ = self.tcpdump.wait();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.printed.is_some() {
            self.interrupt();
        }
    }
}
