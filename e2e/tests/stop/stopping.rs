//! One stop under load: three pods, which ask both replicas, with 100 calls at once and a stream each way, a fourth whose
//! connection only waits, and a packet capture beside the upstream.

use std::{collections::HashSet, thread::JoinHandle, time::Duration};

use jiff::Timestamp;
use keylend_e2e::{Call, Capture, Event, Kubectl, Load, Pod, Stage, eventually, operator, wait::now};
use serde_json::{Value, json};

/// How long a stop may take, from the command to its return.
pub const LONGEST_STOP: Duration = Duration::from_secs(3);
/// An end that came is put on record before it is waited out (docs/decisions/expiry-on-record.md).
const PUT_ON_RECORD: Duration = Duration::from_secs(1);
/// How long calls go on before anything happens to them, at least.
const UNHINDERED: Duration = Duration::from_secs(2);
/// How many calls of one pod, before and after, show that there is load; on a machine that has time there are hundreds.
const ENOUGH: usize = 34;
/// How long they go on once what hindered is over.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// What a sidecar says that hears nothing in time, as it may on a busy machine.
pub const NO_ANSWER: &str = "operator_unreachable";
/// How many pods call.
pub const CALLERS: usize = 3;
/// How many calls of theirs are under way at once.
const AT_ONCE: usize = 100;
const PORT: u16 = 8443;

/// The moments of a stop, in nanoseconds since 1970.
pub struct Stopped {
    /// The command was issued, or the share's end could be on record.
    pub issued: i64,
    /// It was accepted.
    pub accepted: i64,
    /// It is complete, as the API says.
    pub returned: i64,
}

/// All that was seen of one stop.
pub struct Story {
    stopped: Stopped,
    /// Before anything was hindered.
    undisturbed_until: i64,
    hindered_until: i64,
    calls: Vec<Vec<Call>>,
    streams: Vec<Vec<Event>>,
    /// Trace and digest of the credential, of every request that the upstream saw.
    hits: Vec<(String, String)>,
    /// When something was sent toward the upstream, and what.
    sent: Vec<(i64, String)>,
}

/// Deletes the share: accepted when one command returned that does not wait, returned when the next one did, which waits.
pub fn delete(stage: &Stage) -> Stopped {
    let issued = now();
    let accepted = accept_deletion(stage);
    stage.owner.run(&["delete", "secretshare", "partner", "--timeout=20s"]).expect_ok();
    Stopped { issued, accepted, returned: now() }
}

/// Deletes the share without waiting; gives back when that was accepted.
pub fn accept_deletion(stage: &Stage) -> i64 {
    stage.owner.run(&["delete", "secretshare", "partner", "--wait=false"]).expect_ok();
    now()
}

/// Revokes the share by the plugin's verb: accepted when the share says `revoked`, returned when the verb did.
pub fn revoke(stage: &Stage) -> Stopped {
    let share = stage.owner.clone();
    let accepted = std::thread::spawn(move || {
        let says_so = "--for=jsonpath={.spec.revoked}=true";
        share.run(&["wait", "secretshare/partner", says_so, "--timeout=20s"]).expect_ok();
        now()
    });
    // Who looks begins before, and takes no processor time from who acts.
    std::thread::sleep(Duration::from_secs(1));
    let issued = now();
    stage.owner.run(&["keylend", "share", "revoke", "partner"]).expect_ok();
    Stopped { issued, accepted: accepted.join().unwrap(), returned: now() }
}

/// Lets the share end in a few seconds, and waits until the condition shows.
pub fn expire(stage: &Stage) -> Stopped {
    expire_within(stage, 4)
}

/// Lets the share end within so many seconds, one less at the earliest, and waits until the condition shows.
pub fn expire_within(stage: &Stage, seconds: i64) -> Stopped {
    let end = Timestamp::now().as_second() + seconds;
    let text = Timestamp::from_second(end).unwrap().to_string();
    stage.patch_share(&json!({"expiresAt": text}));
    stage.owner.wait_for("secretshare/partner", "Revoked");
    let ended = end * 1_000_000_000;
    Stopped { issued: ended + nanoseconds(PUT_ON_RECORD), accepted: ended, returned: now() }
}

impl Story {
    /// Lets calls go on while `stop` happens under what `hinder` did to the callers and the operator, and for `watched`
    /// after it returned; then a while longer with nothing hindered.
    pub fn of<H>(
        stage: &Stage,
        hinder: impl FnOnce(&[Pod]) -> H,
        stop: impl FnOnce(&Stage) -> Stopped,
        watched: Duration,
    ) -> Self {
        let pods = stage.scale_over_both(CALLERS + 1);
        let (callers, waiting) = pods.split_at(CALLERS);
        let upstream =
            stage.upstream_namespace.pods("app=upstream").pop().expect("the upstream runs").address;
        let capture = Capture::of_payload_toward(&upstream, PORT);
        let since = stage.upstream().hits().len();
        stage.wait_until_injected(&waiting[0].app());
        let waited = stage.upstream().hits().len() - since;

        let streams: Vec<_> = callers.iter().map(stream).collect();
        let load = Load::begin(callers.iter().map(Pod::app), &calls());
        std::thread::sleep(UNHINDERED);
        wait_for_hits(stage, since + waited + CALLERS * ENOUGH);
        let undisturbed_until = now();
        let hindrance = hinder(callers);
        let stopped = stop(stage);
        std::thread::sleep(watched);
        let hindered_until = now();
        drop(hindrance);
        std::thread::sleep(AFTERWARDS);
        Self {
            stopped,
            undisturbed_until,
            hindered_until,
            calls: load.end(),
            streams: streams.into_iter().map(|stream| stream.join().unwrap()).collect(),
            hits: stage.upstream().hits()[since + waited..].iter().map(trace_and_digest).collect(),
            sent: capture.end().iter().map(|line| time_and_rest(line)).collect(),
        }
    }

    /// The whole promise; calls that begin later are refused by one of `codes`, or for want of an answer.
    pub fn holds(&self, codes: &[&str]) {
        self.injected_nothing_later(codes);
        self.cut_the_streams();
        self.sent_nothing_later();
        let took = self.stopped.returned - self.stopped.issued;
        assert!(took <= nanoseconds(LONGEST_STOP), "the stop took {} ms", took / 1_000_000);
    }

    /// The control of a hindrance: calls of the first `pods` got no answer in time while it lasted.
    pub fn was_hindered(&self, pods: usize) {
        let hindered = |call: &Call| call.start > self.undisturbed_until && call.start < self.hindered_until;
        for calls in &self.calls[..pods] {
            let mut calls = calls.iter().filter(|call| hindered(call));
            assert!(calls.any(|call| by(call, &[NO_ANSWER])), "nothing was hindered");
        }
    }

    /// There were that many calls at once when the stop was asked for.
    fn was_under_load(&self) {
        let open = |call: &&Call| call.start < self.undisturbed_until && call.end > self.undisturbed_until;
        let open = self.calls.iter().flatten().filter(open).count();
        assert!(open >= AT_ONCE, "{open} calls were under way");
    }

    /// No call that began after the stop was accepted carried a credential; those before it did, from every pod.
    pub fn injected_nothing_later(&self, codes: &[&str]) {
        let injected: HashSet<&str> = self
            .hits
            .iter()
            .filter(|(_, digest)| !digest.is_empty())
            .map(|(trace, _)| trace.as_str())
            .collect();
        self.was_under_load();
        let before = |call: &&Call| call.start < self.undisturbed_until;
        operator::both_granted(self.calls.iter().flatten().filter(before));
        for calls in &self.calls {
            let before = calls.iter().filter(before);
            let before = before.filter(|call| injected.contains(call.trace_id.as_str())).count();
            assert!(before >= ENOUGH / 2, "only {before} calls of a pod were injected before");
            let later: Vec<&Call> = calls.iter().filter(|call| call.start > self.stopped.accepted).collect();
            assert!(later.len() >= ENOUGH / 2, "only {} calls of a pod began later", later.len());
            assert!(later.iter().any(|call| by(call, codes)), "none was refused by one of {codes:?}");
            for call in later {
                assert!(!injected.contains(call.trace_id.as_str()), "injected after the stop: {call:?}");
                assert!(by(call, codes) || by(call, &[NO_ANSWER]), "{call:?}");
            }
        }
        self.knows_every_hit();
    }

    /// A hit whose call nobody knows would prove nothing.
    fn knows_every_hit(&self) {
        let calls = self.calls.iter().flatten().map(|call| call.trace_id.as_str());
        let streams = self.streams.iter().flatten().map(|event| event.trace_id.as_str());
        let known: HashSet<&str> = calls.chain(streams).collect();
        let unknown: Vec<_> = self.hits.iter().filter(|(trace, _)| !known.contains(trace.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    /// Every open stream went on until the stop, or its hindrance, and was cut when the stop was complete.
    pub fn cut_the_streams(&self) {
        for events in &self.streams {
            let mut pieces = events.iter().filter(|event| event.event == "chunk");
            let end = events.last().expect("a stream ends");
            assert!(pieces.any(|piece| piece.time < self.undisturbed_until), "a stream was open: {events:?}");
            assert!(end.time > self.undisturbed_until, "and stayed so: {end:?}");
            assert!(!end.error.is_empty(), "a cut stream does not look complete: {end:?}");
            let late = end.time - self.stopped.returned;
            assert!(
                late < nanoseconds(Duration::from_millis(200)),
                "a stream outlived the stop by {late} ns"
            );
        }
    }

    /// Nothing went toward the upstream once the stop was complete; before, much did.
    pub fn sent_nothing_later(&self) {
        let (before, after): (Vec<_>, Vec<_>) =
            self.sent.iter().partition(|(time, _)| *time <= self.stopped.returned);
        assert!(before.len() >= 200, "the capture saw {} packets", before.len());
        assert!(after.is_empty(), "sent after {}: {after:?}", self.stopped.returned);
    }
}

/// Where pods find the API server.
pub fn api_server() -> [String; 1] {
    let service = Kubectl::admin("default").json("service", "kubernetes");
    [service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned()]
}

/// Whether `call` was refused by one of `codes`.
fn by(call: &Call, codes: &[&str]) -> bool {
    codes.contains(&call.refusal.as_str())
}

/// About 100 calls at once from all callers, without so many a second that the machine is the bottleneck.
fn calls() -> Value {
    json!({"url": "/stripe/slow?ms=1800", "concurrency": 36, "rate": 20, "for_ms": 120_000})
}

/// A call that sends and receives all the time.
fn stream(pod: &Pod) -> JoinHandle<Vec<Event>> {
    let app = pod.app();
    let upload = json!({"pieces": 2_000, "size": 100, "every_ms": 50});
    let wish = json!({"url": "/stripe/duplex", "method": "POST", "chunked": true, "upload": upload, "deadline_ms": 110_000});
    std::thread::spawn(move || app.stream(&wish))
}

/// Waits until the upstream has seen so many requests.
fn wait_for_hits(stage: &Stage, count: usize) {
    eventually(|| {
        let hits = stage.upstream().hits().len();
        if hits < count { Err(format!("{hits} of {count} hits")) } else { Ok(()) }
    });
}

fn trace_and_digest(hit: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&hit["trace_id"]), text(&hit["authorization"]["sha256"]))
}

/// Reads what tcpdump prints: seconds with six decimals, then the packet.
fn time_and_rest(line: &str) -> (i64, String) {
    let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("a packet has a time: {line:?}"));
    let (seconds, fraction) = time.split_once('.').expect("a time has decimals");
    let [seconds, microseconds] =
        [seconds, fraction].map(|text| text.parse::<i64>().expect("a time is a number"));
    (seconds * 1_000_000_000 + microseconds * 1_000, rest.to_owned())
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
