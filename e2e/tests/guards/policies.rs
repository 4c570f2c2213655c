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

/// Its finalizers have to come off, whatever later rules say of how it was made.
#[test]
fn a_pod_that_is_older_than_a_rule_on_making_pods_can_still_be_changed() {
    let stage = Stage::set("older", VALUE);
    let made = [
        ("names", "/spec/hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["a.test"]}])),
        ("user", "/spec/securityContext", json!({"runAsUser": 2102})),
    ]
    .map(|(name, field, value)| {
        let mut pod = forged::handwritten(&stage, name);
        forged::set(&mut pod, field, value);
        pod.to_string()
    });
    let create = |pod: &String| stage.recipient.run_with_input(&["create", "--filename=-"], pod);
    let (kind, name) = ("validatingadmissionpolicybinding", "keylend-pod-shape");
    let put_back = Undo::by(saved(kind, name));
    let lifted = ["delete", kind, name];
    Kubectl::admin("default").run(&lifted).expect_ok();
    for pod in &made {
        within(PROMISED, || if create(pod).ok { Ok(()) } else { Err("the rule still holds".to_owned()) });
    }
    drop(put_back);
    for pod in &made {
        within(PROMISED, || match create(pod) {
            refused if refused.stderr.contains("keylend-pod-shape") => Ok(()),
            other => Err(format!("the rule does not hold again: {other:?}")),
        });
    }
    for finalizers in [json!(["keylend.test/held"]), json!([])] {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        for pod in ["names", "user"] {
            stage.recipient.run(&["patch", "pod", pod, "--type=merge", "--patch", &patch]).expect_ok();
        }
    }
    within(PROMISED, || ready(&stage, "\"True\""));
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
