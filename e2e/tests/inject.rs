//! Promise 1 needs the sidecar in every pod that asks, and in no other: what is injected, and what happens without us.

use std::time::Duration;

use keylend_e2e::{App, Kubectl, Stage, eventually, operator, pod, replaced, within};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-1d6a90e5c2b7f384";
/// How long the operator is waited for, in nanoseconds; the app's own part is within.
const LONGEST_WAIT: i64 = 2_200_000_000;
const CALLS: [&str; 5] = ["call", "--brief", "--expect=200", "--retry-for=30s", "/stripe/ok"];

#[test]
fn every_kind_of_pod_in_a_restricted_namespace_is_lent_the_value() {
    let stage = Stage::set("inject", VALUE);
    // The deployment.
    stage.wait_until_injected(&stage.app());
    let hits = stage.upstream().hits().len();

    let mut template = pod::asking("job", "checkout", &CALLS);
    let (metadata, spec) = (template["metadata"].take(), template["spec"].take());
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"annotations": metadata["annotations"]}, "spec": spec}},
    });
    let mut bare = pod::asking("bare", "checkout", &CALLS);
    bare["spec"]["containers"][0]["env"] = json!([{"name": "OWN", "value": "1"}]);
    let mut early = pod::asking("early", "checkout", &CALLS);
    early["spec"]["initContainers"] =
        json!([pod::container("first", &CALLS), pod::container("second", &CALLS)]);
    for object in [&job, &bare, &early] {
        stage.recipient.apply(&object.to_string()).expect_ok();
    }
    // A sidecar that did not end would keep the job from completing and the pods from succeeding.
    stage.recipient.run(&["wait", "job/job", "--for=condition=complete", "--timeout=60s"]).expect_ok();
    for name in ["pod/bare", "pod/early"] {
        let succeeded = "--for=jsonpath={.status.phase}=Succeeded";
        stage.recipient.run(&["wait", name, succeeded, "--timeout=60s"]).expect_ok();
    }
    assert_eq!(
        stage.upstream().hits().len(),
        hits + 5,
        "the job, the pod, and three containers of the other"
    );
    let early = stage.recipient.json("pod", "early");
    assert_eq!(names(&early["spec"]["initContainers"]), ["keylend-sidecar", "first", "second"]);

    // The namespace is as restricted as the examples say.
    let mut lax = pod::asking("lax", "checkout", &CALLS);
    lax["spec"]["containers"][0]["securityContext"] = Value::Null;
    stage.recipient.apply(&lax.to_string()).expect_refused("violates PodSecurity \"restricted");
}

#[test]
fn a_pod_that_does_not_ask_is_left_as_it_was() {
    // The webhook never sees this namespace: what the API server itself makes of a pod.
    let unseen = Kubectl::admin("kube-system");
    let seen = Kubectl::admin("default");
    let admitted = |kubectl: &Kubectl, pod: &Value| -> Value {
        let arguments = ["create", "--dry-run=server", "--output=json", "--filename", "-"];
        let text = kubectl.run_with_input(&arguments, &pod.to_string()).expect_ok();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let plain = pod::plain("plain", "default", &["sleep", "inf"]);
    let untouched = admitted(&unseen, &plain);
    assert_eq!(names(&untouched["spec"]["containers"]), ["app"]);
    for answer in [Value::Null, json!("false"), json!("True"), json!("")] {
        let mut pod = plain.clone();
        if answer.is_string() {
            pod["metadata"]["annotations"] = json!({"keylend.dev/inject": answer});
        }
        let created = admitted(&seen, &pod);
        assert_eq!(created["spec"], untouched["spec"], "{answer}");
        assert_eq!(created["metadata"]["labels"], plain["metadata"]["labels"], "{answer}");
    }
    let asking = admitted(&seen, &pod::asking("plain", "default", &["sleep", "inf"]));
    assert_eq!(names(&asking["spec"]["initContainers"]), ["keylend-sidecar"]);
    assert_eq!(names(&asking["spec"]["volumes"]), ["keylend-token"]);
}

#[test]
fn a_second_service_account_of_the_namespace_is_refused_when_the_share_lists_the_first() {
    let stage = Stage::set("account", VALUE);
    let first = stage.app();
    stage.wait_until_injected(&first);
    stage.recipient.run(&["create", "serviceaccount", "second"]).expect_ok();
    let other = pod::asking("other", "second", &["caller", "--control", ":8080"]);
    stage.recipient.apply(&other.to_string()).expect_ok();
    stage.recipient.wait_for("pod/other", "Ready");
    let second = App::at(&stage.pod_address("app=other"));
    let hits = stage.upstream().hits().len();
    let call = second.call("/stripe/ok");
    assert_eq!((call.status, call.refusal.as_str()), (403, "secret_unknown"), "{call:?}");
    assert_eq!(stage.upstream().hits().len(), hits);
    assert_eq!(first.call("/stripe/ok").status, 200);
    stage.recipient.run(&["create", "serviceaccount", "third"]).expect_ok();
    let mut labelled = pod::plain("labelled", "third", &["sleep", "inf"]);
    labelled["metadata"]["labels"]["keylend.dev/injected"] = json!("true");
    stage.recipient.apply(&labelled.to_string()).expect_ok();
    let status = |more: &[&str]| stage.recipient.run(&[&["keylend", "status", "stripe"], more].concat());
    let refuses = status(&[]);
    let named = "refuses service account second ";
    assert!(refuses.code == Some(1) && refuses.stdout.contains(named), "{}", refuses.stdout);
    assert_eq!(refuses.stdout.matches("refuses").count(), 1, "{}", refuses.stdout);
    assert_eq!(status(&["--service-account", "checkout"]).code, Some(0));
    stage.patch_share(&json!({"recipient": {"namespace": {"serviceAccounts": ["checkout", "second"]}}}));
    assert_eq!(second.call("/stripe/ok").status, 200, "it was the list alone that refused");
    let permits = status(&[]);
    assert_eq!(permits.code, Some(0), "{}", permits.stdout);
}

#[test]
fn without_the_operator_only_pods_that_ask_wait_and_they_recover_by_themselves() {
    let stage = Stage::set("down", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let sidecar = || stage.recipient.pods("app=checkout")[0].container("keylend-sidecar").pid;
    let before = sidecar();
    let absence = operator::reduced_to(0);
    let call = app.call("/stripe/ok");
    assert_eq!(call.refusal, "operator_unreachable");
    assert!(call.end - call.start < LONGEST_WAIT, "refused after {} ns", call.end - call.start);

    let asking = pod::asking("asking", "checkout", &CALLS);
    stage.recipient.apply(&asking.to_string()).expect_refused("inject.keylend.dev");
    stage.recipient.apply(&pod::plain("plain", "checkout", &["true"]).to_string()).expect_ok();
    let succeeded = "--for=jsonpath={.status.phase}=Succeeded";
    stage.recipient.run(&["wait", "pod/plain", succeeded, "--timeout=30s"]).expect_ok();
    let example = stage.manifest("recipient.yaml");
    let copy = replaced(&example, "name: checkout\n  namespace", "name: late\n  namespace");
    stage.recipient.apply(&replaced(&copy, "app: checkout", "app: late")).expect_ok();
    eventually(|| {
        let events = stage.recipient.run(&["get", "events", "--field-selector=reason=FailedCreate"]).stdout;
        if events.contains("inject.keylend.dev") { Ok(()) } else { Err(events) }
    });

    drop(absence);
    stage.wait_until_injected(&app);
    assert_eq!(sidecar(), before, "the sidecar lived on");
    within(Duration::from_mins(1), || {
        let late = stage.recipient.json("deployment", "late");
        if late["status"]["readyReplicas"] == 1 { Ok(()) } else { Err(late["status"].to_string()) }
    });
    assert_eq!(App::at(&stage.pod_address("app=late")).call("/stripe/ok").status, 200);
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}
