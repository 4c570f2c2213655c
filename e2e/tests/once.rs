//! Promise 8, nothing twice: wherever an exchange breaks, the upstream saw one head of it.
#![expect(clippy::unwrap_used, reason = "a test whose peers or cluster are gone cannot go on")]

use std::collections::HashMap;

use keylend_e2e::{App, Call, Stage, app, eventually};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-b64e03d9f17c8a52";
const BODY: &str = "kl-test-body";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn an_upstream_that_resets_at_any_byte_sees_one_head_of_each_call() {
    let stage = Stage::set_before("raw-upstream", "once", VALUE);
    let (app, control) = (stage.app(), stage.upstream().control().to_owned());
    wait_until_injected(&control, &app);
    let resets = resets();
    let mut calls = Vec::new();
    for reset in &resets {
        play(&control, reset);
        let broken = send("POST", &app);
        assert!(is_broken(&broken), "{reset:?}: {broken:?}");
        // Again on a connection that was good once, where a client is most tempted to send again.
        play(&control, &[exchange("", ANSWER), reset.clone()].concat());
        let (whole, broken_later) = (get(&app), send("PUT", &app));
        assert!(whole.status == 200 && is_broken(&broken_later), "{reset:?}: {whole:?} {broken_later:?}");
        calls.extend([broken, whole, broken_later]);
    }
    let seen = heads(&control);
    let reused = seen.iter().filter(|heads| heads.len() == 2).count();
    assert_eq!(reused, resets.len(), "a good call's connection was used again");
    let mut counts: HashMap<&str, usize> = HashMap::new();
    seen.iter().flatten().for_each(|trace| *counts.entry(trace).or_default() += 1);
    let wrong: Vec<&Call> = calls.iter().filter(|call| counts.get(&*call.trace_id) != Some(&1)).collect();
    assert!(wrong.is_empty(), "not seen exactly once: {wrong:?}");
}

/// Plays good exchanges until a call is injected; each ends its connection, so that none is left.
fn wait_until_injected(control: &str, app: &App) {
    play(control, &exchange(BODY, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    eventually(|| {
        let call = send("POST", app);
        if call.status == 200 { Ok(()) } else { Err(format!("{call:?}")) }
    });
}

/// What an upstream does that takes a whole request with `body` and answers with `answer`.
fn exchange(body: &str, answer: &str) -> Vec<Value> {
    let request = json!({"await": {"head": true, "body": body.len()}});
    if answer.is_empty() { vec![request] } else { vec![request, json!({"send_text": answer})] }
}

/// A reset after the request's head and each byte of its body, and after each byte of an answer but the last.
fn resets() -> Vec<Vec<Value>> {
    let reset = json!({"reset": true});
    let in_request = (0..BODY.len()).map(|n| vec![json!({"await": {"head": true, "body": n}})]);
    let in_answer = (0..ANSWER.len()).map(|n| exchange(BODY, &ANSWER[..n]));
    in_request.chain(in_answer).map(|steps| [steps, vec![reset.clone()]].concat()).collect()
}

/// What every connection from now on gets.
fn play(control: &str, steps: &[Value]) {
    app::post(&format!("{control}/scripts"), &json!({"standing": {"steps": steps}}));
}

/// A call without a body, after which its connection waits.
fn get(app: &App) -> Call {
    app.run(&json!({"url": "/stripe/pay"})).pop().unwrap()
}

/// A call with a body; one by PUT takes a connection that waits.
fn send(method: &str, app: &App) -> Call {
    app.run(&json!({"url": "/stripe/pay", "method": method, "body": BODY})).pop().unwrap()
}

fn is_broken(call: &Call) -> bool {
    call.status == 502 || !call.error.is_empty()
}

/// The traces of the heads that each connection brought, probes left out.
fn heads(control: &str) -> Vec<Vec<String>> {
    let connections = app::get(&format!("{control}/connections")).unwrap();
    let traces = |connection: &Value| {
        let heads = connection["heads"].as_array().cloned().unwrap_or_default();
        heads.iter().filter_map(|head| head["trace_id"].as_str().map(str::to_owned)).collect()
    };
    connections.as_array().unwrap().iter().map(traces).filter(|heads: &Vec<_>| !heads.is_empty()).collect()
}
