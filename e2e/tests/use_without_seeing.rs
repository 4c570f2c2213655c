//! Promise 1, never seen: the upstream gets the value, and it is nowhere else. A canary shows that each scan finds.

use std::{io::ErrorKind, net::TcpStream, thread};

use keylend_e2e::{App, Call, Kubectl, Needle, Pod, Stage, app, eventually, node, operator, pod};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-4f1c9a7be2d05836";
/// What every way of escaping changes, in base64 too.
const SPECIAL: &str = r#"kl-test-/+"<x>&'\4%41?~>9a"#;
const CANARY: &str = "kl-test-canary-71b0e94c";
const NOWHERE: [String; 0] = [];

#[test]
fn the_upstream_receives_the_value_and_the_app_gets_it_back_in_no_spelling_however_it_is_cut() {
    let stage = Stage::set("use", SPECIAL);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let needle = Needle::in_pieces(SPECIAL);
    assert!(needle.looks_different_in_each_spelling());
    received_by_the_upstream(&stage, &app);
    what_the_app_sends_itself_comes_back(&app, &needle);

    let spellings = needle.spellings().join(",");
    let everywhere = format!("in=headers,body,trailers,reason&enc={spellings}");
    let whole = app_gets(&app, &[format!("{everywhere}&by=hand")]).remove(0);
    assert!(whole.body.starts_with(&format!("raw: {}\n", "*".repeat(SPECIAL.len()))), "{whole:?}");
    assert!(masked_as(&whole.body, &needle.masked_echo()), "{whole:?}");
    assert!(whole.trailers.to_string().contains("***") && whole.reason.contains("***"), "{whole:?}");

    let mut queries = vec![format!("{everywhere}&length=known"), format!("enc={spellings}&split=5")];
    queries.extend([1, 2, 3, 7, 64].map(|size| format!("{everywhere}&by=hand&split={size}")));
    // Two pieces, parted at bytes of the answer as it is on the wire, the head included: for two spellings at each, for all
    // of them at every seventh. Each byte of every spelling is what the scrubber's own test cuts at, in a moment
    // (no_spelling_passes_wherever_the_body_is_cut, in sidecar/src/call/scrub/tests.rs).
    let two = "in=headers,body,trailers,reason&enc=raw,base64-std-1";
    for (parted, step) in [(two, 1), (&format!("in=body&enc={spellings}"), 7)] {
        let some = (1..answer_length(&app, parted)).step_by(step);
        queries.extend(some.map(|at| format!("{parted}&by=hand&at={at}&pause=2ms")));
    }
    let replies = app_gets(&app, &queries);
    for (reply, query) in replies.iter().zip(&queries).filter(|(_, query)| query.contains(&spellings)) {
        assert_eq!(reply.body, whole.body, "{query}");
    }
    let replies: Vec<u8> = replies.iter().flat_map(shown).collect();
    assert_eq!(needle.in_bytes(&replies), NOWHERE);
    every_call_echoed(&stage);
}

#[test]
fn the_value_is_nowhere_in_the_cluster_and_not_in_memory_after_the_last_call() {
    let stage = Stage::set("nowhere", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let (needle, canary) = (Needle::in_pieces(VALUE), Needle::new(CANARY));
    heard_inside_its_pod_only(&stage);
    not_in_the_sidecars_or_operators_memory(&stage, &app, &needle);
    not_in_the_apps_environment_files_and_memory(&app, &needle, &canary);
    plant(&stage, &canary);
    let paths = node::paths();
    let events = Kubectl::admin("default").run(&["get", "events", "--all-namespaces", "--output=json"]);
    for (source, bytes) in [("events", events.expect_ok().into_bytes()), ("etcd", node::etcd())] {
        assert_ne!(canary.in_bytes(&bytes), NOWHERE, "{source}: the canary is found");
        assert_eq!(needle.in_bytes(&bytes), NOWHERE, "{source}");
    }
    assert_ne!(canary.under(&paths.pod_logs), NOWHERE, "the canary is found");
    assert_eq!(needle.under(&paths.pod_logs), NOWHERE, "logs of all containers");
    assert_ne!(Needle::new("kube-apiserver").under(&paths.logs), NOWHERE, "the node's own logs are read");
    assert_eq!(needle.under(&paths.logs), NOWHERE, "the node's own logs");
    // Nobody can plant anything in these two: what is known to be there is found instead.
    let call = app.call("/stripe/ok");
    assert_ne!(Needle::new(&call.trace_id).under(&paths.volumes), NOWHERE, "the audit has the call's row");
    assert_eq!(needle.under(&paths.volumes), NOWHERE, "audit");
    for metrics in operator::pods().iter().map(operator::metrics) {
        assert_ne!(Needle::new("keylend_").in_bytes(metrics.as_bytes()), NOWHERE, "{metrics}");
        assert_eq!(needle.in_bytes(metrics.as_bytes()), NOWHERE, "metrics");
    }
}

/// The positive control: without it, seeing nothing would prove nothing.
fn received_by_the_upstream(stage: &Stage, caller: &App) {
    let expectation = json!({"authorization": format!("Bearer {SPECIAL}")});
    app::post(&format!("{}/expect", stage.upstream().control()), &expectation);
    let authorized = caller.call("/stripe/v1/charges");
    assert_eq!(authorized.status, 200, "{authorized:?}");
}

fn what_the_app_sends_itself_comes_back(app: &App, needle: &Needle) {
    let wish = json!({
        "url": "/stripe/echo", "include_body": true, "include_headers": true, "headers": {"X-Own": CANARY},
    });
    let replies: Vec<u8> = app.run(&wish).iter().flat_map(shown).collect();
    assert_ne!(Needle::new(CANARY).in_bytes(&replies), NOWHERE, "the canary is found");
    assert_eq!(needle.in_bytes(&replies), NOWHERE);
}

/// Whether `body` is `echo`, masked no less. Six spellings in base64 are there twice each; a character at either edge may
/// hold bits of the value and of what stands beside it, and is masked then.
fn masked_as(body: &str, echo: &str) -> bool {
    const AT_EDGES: usize = 6 * 2 * 2;
    let differing = body.chars().zip(echo.chars()).filter(|(came, sent)| came != sent);
    let more: Vec<_> = differing.map(|(came, _)| came).collect();
    body.len() == echo.len() && more.len() <= AT_EDGES && more.iter().all(|came| *came == '*')
}

/// All that an app sees of a reply, as it is: JSON would spell it anew.
fn shown(call: &Call) -> Vec<u8> {
    let fields = [&call.headers, &call.trailers].into_iter().filter_map(Value::as_object).flatten();
    let texts = fields.flat_map(|(name, values)| {
        let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
        values.map(move |value| format!("{name}: {value}\r\n"))
    });
    format!("{}\r\n{}\r\n{}", call.reason, texts.collect::<String>(), call.body).into()
}

/// What the app gets for each query, four calls at a time; every one of them is answered in full.
fn app_gets(app: &App, queries: &[String]) -> Vec<Call> {
    let call = |query: &String| {
        let url = format!("/stripe/echo-encoded?{query}");
        let wish = json!({"url": url, "include_body": true, "include_headers": true});
        app.run(&wish).pop().unwrap_or_default()
    };
    let replies: Vec<Call> = thread::scope(|scope| {
        let workers: Vec<_> = queries
            .chunks(queries.len().div_ceil(4))
            .map(|some| scope.spawn(move || some.iter().map(call).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    assert_eq!(replies.len(), queries.len());
    for (reply, query) in replies.iter().zip(queries) {
        assert!(reply.status == 200 && reply.error.is_empty(), "{query}: {reply:?}");
    }
    replies
}

/// At least as long as the answer is on the wire.
fn answer_length(app: &App, query: &str) -> usize {
    let replies = app_gets(app, &[format!("{query}&by=hand")]);
    let framing =
        "HTTP/1.1 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1000\r\n\r\n0\r\n\r\n".len();
    shown(&replies[0]).len() + framing
}

fn every_call_echoed(stage: &Stage) {
    let hits = stage.upstream().hits();
    let echoes: Vec<_> = hits
        .iter()
        .filter(|hit| hit["target"].as_str().is_some_and(|target| target.starts_with("/echo-encoded")))
        .collect();
    assert!(echoes.len() > 500, "{}", echoes.len());
    for hit in echoes {
        assert!(hit["authorization"]["expected"] == true && hit["echoed"].as_u64() > Some(0), "{hit}");
    }
}

/// Who could call the sidecar from elsewhere would use the value as this pod.
fn heard_inside_its_pod_only(stage: &Stage) {
    let address = stage.pod_address("app=checkout");
    assert!(TcpStream::connect(format!("{address}:8080")).is_ok(), "the app's own listener is reached");
    let refused = TcpStream::connect(format!("{address}:7180")).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused), "the sidecar's is not");
}

fn not_in_the_sidecars_or_operators_memory(stage: &Stage, app: &App, needle: &Needle) {
    let process =
        |pods: &[Pod], name: &str| pods.iter().map(|pod| pod.container(name).pid).collect::<Vec<_>>();
    let operators = process(&operator::pods(), "operator");
    let sidecar = process(&stage.recipient.pods("app=checkout"), "keylend-sidecar")[0];

    let streaming = thread::spawn({
        let app = app.clone();
        move || app.run(&json!({"url": "/stripe/stream?every=50ms&for=6s"}))
    });
    let upstream = stage.upstream();
    eventually(|| match upstream.hits().last() {
        Some(hit) if hit["target"].as_str().is_some_and(|target| target.starts_with("/stream")) => Ok(()),
        last => Err(format!("{last:?}")),
    });
    assert_ne!(needle.in_process(sidecar), NOWHERE, "while a call is open its value is there, and found");
    assert_eq!(streaming.join().map(|calls| calls[0].status).ok(), Some(200));

    stage.put(VALUE);
    let calls = json!({"url": "/stripe/echo", "count": 200, "concurrency": 10});
    assert!(app.run(&calls).iter().all(|call| call.status == 200));
    let spellings = needle.spellings().join(",");
    assert_eq!(app.call(&format!("/stripe/echo-encoded?enc={spellings}")).status, 200);
    // All at the same moment: whoever is looked at later has had longer to forget.
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(needle.in_process(sidecar), NOWHERE, "the sidecar"));
        for operator in &operators {
            scope.spawn(|| assert_eq!(needle.in_process(*operator), NOWHERE, "the operator"));
        }
    });
    for operator in operators {
        let route = Needle::new(&format!("https://{}", stage.host));
        assert_ne!(route.in_process(operator), NOWHERE, "what it watches is found on its heap");
    }
}

fn not_in_the_apps_environment_files_and_memory(caller: &App, needle: &Needle, canary: &Needle) {
    let environment = app::get(&format!("{}/environ", caller.control())).unwrap_or_default().to_string();
    assert_ne!(
        Needle::new("http://127.0.0.1:7180").in_bytes(environment.as_bytes()),
        NOWHERE,
        "{environment}"
    );
    assert_eq!(needle.in_bytes(environment.as_bytes()), NOWHERE, "environment");

    let plant = |wish| app::post(&format!("{}/plant", caller.control()), &wish);
    plant(json!({"base64": canary.base64()}));
    plant(json!({"base64": canary.base64(), "path": "/dev/shm/canary"}));
    assert_ne!(canary.in_memory_of(caller), NOWHERE, "the canary is found");
    assert_eq!(needle.in_memory_of(caller), NOWHERE, "memory");
    assert_ne!(canary.in_files_of(caller, "/dev/shm"), NOWHERE, "the canary is found");
    for root in ["/", "/dev/shm"] {
        assert_eq!(needle.in_files_of(caller, root), NOWHERE, "files under {root}");
    }
}

/// Puts the canary into a log, an event, and etcd.
fn plant(stage: &Stage, canary: &Needle) {
    let says = pod::plain("canary", "default", &["spell", "--needle-base64", canary.base64()]);
    stage.upstream_namespace.apply(&says.to_string()).expect_ok();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "canary-"},
        "involvedObject": {"kind": "Pod", "namespace": "stripe-nowhere", "name": "canary"},
        "type": "Normal", "reason": "Canary", "message": CANARY,
    });
    stage.upstream_namespace.run_with_input(&["create", "--filename", "-"], &event.to_string()).expect_ok();
    let said = "--for=jsonpath={.status.phase}=Succeeded";
    stage.upstream_namespace.run(&["wait", "pod/canary", said, "--timeout=30s"]).expect_ok();
}
