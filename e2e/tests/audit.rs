//! Promise 9, every use is on record first: by trace id, through crashes, by the kernel's own account, and on a full disk.
#![expect(clippy::unwrap_used, reason = "a test whose peers or cluster are gone cannot go on")]

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use keylend_e2e::{Load, Stage, Strace, app, eventually, operator, within};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-0d7c35f1be946a82";
const LONGEST: Duration = Duration::from_secs(15);

#[test]
fn every_hit_has_one_row_across_a_kill_of_every_replica_under_load() {
    let stage = Stage::set("audit", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let control = stage.upstream().control().to_owned();
    let hits = |at_least: u64| {
        let count = app::get(&format!("{control}/count?wait_ms=30000&at_least={at_least}")).unwrap();
        let hits = count["hits"].as_u64().unwrap();
        assert!(hits >= at_least, "the load goes on: {count}");
        hits
    };
    let calls = json!({"url": "/stripe/v1/charges", "method": "POST", "body": "kl-test-body",
        "for_ms": 150_000, "concurrency": 8, "rate": 100});
    let load = Load::begin([app], &calls);
    hits(200);
    operator::kill_all();
    hits(hits(0) + 200);
    let calls = load.end().concat();
    assert!(calls.iter().any(|call| call.refusal == "operator_unreachable"), "the kill was noticed");

    let hits: Vec<String> = stage.upstream().hits().iter().map(|hit| text(&hit["trace_id"])).collect();
    let mut rows = intents();
    assert_eq!(unaccounted(&hits, &rows), HashSet::new());
    let missing = hits[hits.len() / 2].as_str();
    rows.retain(|trace| trace != missing);
    assert_eq!(unaccounted(&hits, &rows), HashSet::from([missing]), "a hit without its row would be found");
    for replica in operator::REPLICAS {
        let verify =
            ["exec", replica, "--namespace=keylend-system", "--", "/keylend-operator", "verify-audit"];
        let said = operator::kubectl().run(&verify).expect_ok();
        assert!(said.contains(" rows, whole: "), "{said}");
    }
}

/// The traces of all intent rows.
fn intents() -> Vec<String> {
    let rows = operator::audit_rows();
    rows.iter().filter(|row| row["kind"] == "intent").map(|row| text(&row["trace_id"])).collect()
}

/// The traces that were hit more than once, or whose hit has not exactly one row.
fn unaccounted<'a>(hits: &'a [String], rows: &[String]) -> HashSet<&'a str> {
    let mut counts: HashMap<&str, (u32, u32)> = HashMap::new();
    for trace in hits {
        counts.entry(trace).or_default().0 += 1;
    }
    for trace in rows {
        counts.entry(trace).or_default().1 += 1;
    }
    hits.iter().map(String::as_str).filter(|trace| counts[trace] != (1, 1)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_row_is_synced_before_its_answer_is_written() {
    let stage = Stage::set("sync", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let calls = "pwrite64,fdatasync,write,writev,sendto,sendmsg";
    let mut traces =
        operator::REPLICAS.map(|replica| Strace::of(&operator::container(replica), calls, &env::temp_dir()));
    // Which replica is asked is the sidecar's choice.
    let mut trace_of = |id: &str| {
        traces.iter_mut().map(Strace::lines).find(|lines| lines.iter().any(|line| is_row(line, id)))
    };
    within(LONGEST, || {
        let call = app.call("/stripe/ok");
        trace_of(&call.trace_id).map(drop).ok_or_else(|| format!("nothing is traced yet: {call:?}"))
    });
    for _ in 0..20 {
        let call = app.call("/stripe/ok");
        assert_eq!(call.status, 200, "{call:?}");
        let lines = eventually(|| {
            let lines = trace_of(&call.trace_id).ok_or("its row is not traced")?;
            order(&lines, &call.trace_id).map(|_| lines)
        });
        let (sync, answer) = order(&lines, &call.trace_id).unwrap();
        assert!(sync < answer, "answered before the row was durable:\n{}", lines[answer..=sync].join("\n"));
        let mut late = lines[..=answer].to_vec();
        late.retain(|line| !is_sync(line));
        late.push(lines[sync].clone());
        let (sync, answer) = order(&late, &call.trace_id).unwrap();
        assert!(sync > answer, "a sync after the answer would be found");
    }
}

/// Where the row of a call was synced, and where writing its answer began.
fn order(lines: &[String], id: &str) -> Result<(usize, usize), String> {
    let row = lines.iter().position(|line| is_row(line, id)).ok_or("no row")?;
    let thread = format!("{} ", lines[row].split_whitespace().next().unwrap_or_default());
    let after = |what: &str, wanted: &dyn Fn(&str) -> bool| {
        let found = lines[row..].iter().position(|line| wanted(line)).map(|at| row + at);
        found.ok_or_else(|| format!("no {what} after {}", lines[row]))
    };
    let sync = after("sync", &|line| line.starts_with(&thread) && is_sync(line))?;
    Ok((sync, after("answer", &is_answer)?))
}

/// Whether a line writes the audit row of a call.
fn is_row(line: &str, id: &str) -> bool {
    line.contains("pwrite64(") && line.contains(".jsonl>") && line.contains(id)
}

/// Whether a line says that what was written is durable.
fn is_sync(line: &str) -> bool {
    line.contains("fdatasync") && line.ends_with(" = 0")
}

/// Whether a line begins to write to a sidecar what is long enough to hold a grant.
fn is_answer(line: &str) -> bool {
    let socket = line.split_once(":8443->").filter(|(before, _)| before.contains("<TCP"));
    socket.is_some_and(|(_, content)| content.len() > 1000)
}

#[test]
fn on_a_full_volume_nothing_is_used_until_there_is_room_again() {
    let stage = Stage::set("full", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let full = operator::REPLICAS.map(|replica| Filler::leaving(replica, 0));
    // The page in which the open segment ends has room for a few rows still.
    within(LONGEST, || {
        let call = app.call("/stripe/ok");
        if call.refusal == "audit_unavailable" { Ok(()) } else { Err(format!("{call:?}")) }
    });
    let before = stage.upstream().hits().len();
    let calls = app.run(&json!({"url": "/stripe/ok", "count": 100, "concurrency": 10}));
    let refused = |status, code: &str| status == 503 && code == "audit_unavailable";
    assert!(calls.iter().all(|call| refused(call.status, &call.refusal)), "{calls:?}");
    assert_eq!(stage.upstream().hits().len(), before);
    drop(full);
    assert_eq!(app.call("/stripe/ok").status, 200);
}

#[test]
fn allowed_calls_outlive_a_pod_that_loops_refusals() {
    const LEFT: usize = 384 * 1024;
    let stage = Stage::set("flood", VALUE);
    let [looping, other] = stage.scale(2).try_into().unwrap();
    // Each replica has a log of its own: only who asks the same one can take the other's room.
    let share_a_replica = || operator::replica_of(&looping).name == operator::replica_of(&other).name;
    if !share_a_replica() {
        operator::ask_the_other(&looping);
    }

    let _full = operator::REPLICAS.map(|replica| Filler::leaving(replica, LEFT));
    let flood = json!({"url": "/nowhere/ok", "for_ms": 60_000, "concurrency": 32, "rate": 250});
    let flood = Load::begin([looping.app()], &flood);
    let calls = other.app().run(&json!({"url": "/stripe/ok", "for_ms": 12_000, "rate": 10}));
    assert!(calls.len() > 50 && calls.iter().all(|call| call.status == 200), "{calls:?}");
    let mut refusals = flood.end().concat();
    let codes = ["route_unknown", "overloaded", "operator_unreachable"];
    assert!(refusals.iter().all(|call| codes.contains(&call.refusal.as_str())), "{refusals:?}");
    refusals.retain(|call| call.refusal == "route_unknown");
    let row = operator::audit_rows()
        .iter()
        .find(|row| row["code"] == "route_unknown")
        .map(|row| row.to_string().len());
    let each = row.expect("refusals are on record");
    assert!(refusals.len() * each > 2 * LEFT, "rows for {} refusals would have had room", refusals.len());
    assert!(share_a_replica(), "both asked the same replica to the end");
}

/// Takes the room of a replica's volume, until it is dropped.
struct Filler(PathBuf);

impl Filler {
    fn leaving(replica: &str, bytes: usize) -> Self {
        let filler = Self(operator::volume(replica).join("filler"));
        let mut file = fs::File::create(&filler.0).unwrap();
        while file.write_all(&[0; 8 * 1024]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length - bytes as u64).unwrap();
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
