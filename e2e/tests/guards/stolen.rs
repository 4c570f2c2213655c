//! A stolen token enrols nothing: the key that came first is the sidecar's, and a second one is an alarm.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use keylend_e2e::{Container, Stage, operator, within};
use serde_json::Value;

use crate::{VALUE, forged};

const OPERATOR: &str = "keylend-operator.keylend-system.svc.cluster.local:8443";
const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";

#[test]
fn a_stolen_token_replayed_from_the_app_enrols_nothing_and_raises_one_alarm() {
    let stage = Stage::set("stolen", VALUE);
    stage.wait_until_injected(&stage.app());
    let pod = forged::injected_pod(&stage)["metadata"]["name"].as_str().unwrap().to_owned();
    // Nobody in the namespace gets at the token; whoever is root on the node does.
    let sidecar = Container::find(&stage.recipient_namespace(), &pod, "keylend-sidecar");
    let token = fs::read_to_string(Path::new(&sidecar.root).join(TOKEN)).unwrap();
    assert!(replayed(&stage, &pod, "kl-test-no-token").contains("enrolment_refused"));
    let answer = replayed(&stage, &pod, &token);
    assert!(answer.contains("enrolment_pending"), "{answer}");
    // Whoever was told of it ends before the ten seconds do.
    operator::kill_all();
    within(Duration::from_secs(40), || match alarms(&pod) {
        0 => Err("no alarm".to_owned()),
        _ => Ok(()),
    });
    let answer = replayed(&stage, &pod, &token);
    assert!(answer.contains("enrolment_refused"), "{answer}");
    within(Duration::from_secs(10), || {
        let call = stage.app().call("/stripe/ok");
        if call.refusal == "caller_unknown" { Ok(()) } else { Err(format!("{call:?}")) }
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(alarms(&pod), 1);
    stage.recipient.run(&["delete", "pod", &pod]).expect_ok();
    stage.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=60s"]).expect_ok();
    stage.wait_until_injected(&stage.app());
}

#[test]
fn nobody_who_runs_our_programs_can_read_them_or_their_memory() {
    let stage = Stage::set("closed", VALUE);
    let pod = forged::injected_pod(&stage)["metadata"]["name"].as_str().unwrap().to_owned();
    let of = |name: &str| Container::find(&stage.recipient_namespace(), &pod, name);
    let owner =
        |container: &Container| fs::metadata(format!("/proc/{}/environ", container.pid)).unwrap().uid();
    let (sidecar, app) = (of("keylend-sidecar"), of("app"));
    let program = fs::metadata(Path::new(&sidecar.root).join("keylend-sidecar")).unwrap();
    assert_eq!((program.mode() & 0o7777, program.uid()), (0o111, 0));
    // What a process that cannot be dumped shows belongs to root, not to its user.
    assert_eq!((owner(&sidecar), owner(&app)), (0, 65532));
    let directory = fs::metadata(format!("/proc/{}", sidecar.pid)).unwrap();
    assert_eq!(directory.mode() & 0o777, 0o555);
    let operator = operator::container(operator::REPLICAS[0]);
    assert_eq!(owner(&operator), 0);
    for closed in [&sidecar, &operator] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", closed.pid)).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid)).unwrap();
    assert!(status.contains("Uid:\t2102\t2102\t2102\t2102"), "{status}");
}

/// What the operator answers to a thief in the app's container.
fn replayed(stage: &Stage, pod: &str, token: &str) -> String {
    let namespace = stage.recipient_namespace();
    let command = ["exec", "--stdin", pod, "--container=app", "--namespace", &namespace, "--"];
    let thief = ["/keylend-peers", "enrol", OPERATOR];
    stage.recipient.run_with_input(&[&command[..], &thief].concat(), token).expect_ok()
}

fn alarms(pod: &str) -> usize {
    let about = |row: &&Value| {
        let text = row.to_string();
        text.contains("\"token_replayed\"") && text.contains(pod)
    };
    operator::audit_rows().iter().filter(about).count()
}
