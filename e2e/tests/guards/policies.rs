//! Where one policy is missing or altered, nothing is enrolled, and everybody can read why.

use std::time::{Duration, Instant};

use keylend_e2e::{Kubectl, Stage, Undo, operator, within};
use serde_json::{Value, json};

use crate::{VALUE, forged};

const PROMISED: Duration = Duration::from_secs(10);

#[test]
fn without_one_policy_nothing_is_enrolled_until_it_is_back() {
    let stage = Stage::set("policy", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let altered = json!({"spec": {"validationActions": ["Audit"]}}).to_string();
    let patched = ["patch", "--type=merge", "--patch", &altered];
    for (change, kind, name) in [
        (&["delete"][..], "validatingadmissionpolicy", "keylend-no-exec"),
        (&patched[..], "validatingadmissionpolicybinding", "keylend-token-audience"),
    ] {
        let put_back = Undo::by(saved(kind, name));
        let (began, before) = (Instant::now(), alarms());
        let (verb, options) = change.split_first().unwrap();
        Kubectl::admin("default").run(&[&[*verb, kind, name], options].concat()).expect_ok();
        within(PROMISED, || ready(&stage, "PoliciesMissing"));
        within(PROMISED, || if alarms() > before { Ok(()) } else { Err("no alarm row".to_owned()) });
        std::thread::sleep(PROMISED.saturating_sub(began.elapsed()));
        stage.recipient.run(&["delete", "pods", "--selector=app=checkout", "--wait=false"]).expect_ok();
        within(Duration::from_mins(1), || {
            let log = stage.recipient.run(&["logs", &newest(&stage)?, "--container=keylend-sidecar"]);
            if log.stdout.contains("policies_missing") { Ok(()) } else { Err(format!("{log:?}")) }
        });
        let refused = refusals();
        within(PROMISED, || match refusals() - refused {
            more if more < 3 => Err(format!("{more} more refusals")),
            _ => Ok(()),
        });
        let pod = newest(&stage).unwrap();
        assert!(!forged::is_enrolled(&stage, &pod), "a pod was enrolled without its guards");
        assert!(!forged::has_started(&stage, &pod), "a pod runs without its guards");
        drop(put_back);
        within(PROMISED, || ready(&stage, "\"True\""));
        stage.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=60s"]).expect_ok();
        stage.wait_until_injected(&stage.app());
    }
}

/// How many enrolments were refused because of the policies.
fn refusals() -> u64 {
    const LINE: &str = "keylend_enrolments_total{code=\"policies_missing\"} ";
    let of = |text: String| text.lines().find_map(|line| line.strip_prefix(LINE)?.parse::<u64>().ok());
    operator::pods().iter().filter_map(|replica| of(operator::metrics(replica))).sum()
}

/// How many rows say that the policies were altered.
fn alarms() -> usize {
    operator::audit_rows().iter().filter(|row| row["code"] == "guards_altered").count()
}

/// Puts the object back as it was.
fn saved(kind: &'static str, name: &'static str) -> impl FnMut() {
    let mut object = Kubectl::admin("default").json(kind, name);
    object["metadata"] = json!({"name": name, "annotations": object["metadata"]["annotations"], "labels": object["metadata"]["labels"]});
    move || {
        let cluster = Kubectl::admin("default");
        let _ = cluster.run(&["delete", kind, name, "--ignore-not-found"]);
        let _ = cluster.run_with_input(&["create", "--filename=-"], &object.to_string());
    }
}

/// Whether the route's `Ready` says so.
fn ready(stage: &Stage, words: &str) -> Result<(), String> {
    let route = stage.recipient.json("keylendroute", "stripe");
    let conditions = route["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap_or(&Value::Null);
    if ready.to_string().contains(words) { Ok(()) } else { Err(ready.to_string()) }
}

/// The deployment's pod that is not about to go.
fn newest(stage: &Stage) -> Result<String, String> {
    let pods = stage.recipient.run(&["get", "pods", "--selector=app=checkout", "--output=json"]).expect_ok();
    let pods: Value = serde_json::from_str(&pods).map_err(|error| error.to_string())?;
    let mut pods = pods["items"].as_array().into_iter().flatten();
    let pod = pods.find(|pod| pod["metadata"]["deletionTimestamp"].is_null()).ok_or("no pod yet")?;
    Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}
