//! Promise 3, stopped means stopped: nothing that begins later is injected, and once the command has returned no byte of
//! it can leave; also while parts of the system are cut off or stand still.

#[cfg(test)]
mod stopping;

use std::time::Duration;

use keylend_e2e::{
    Container, Cut, Pod, Stage, condition, container::Paused, eventually, operator, wait::now,
};
use stopping::{LONGEST_STOP, NO_ANSWER, Story, api_server, delete, expire, revoke};

const VALUE: &str = "kl-test-57d3e0c1a9f4b268";
/// Longer than any connection waits in the sidecar for its next call.
const LONGER_THAN_A_CONNECTION_WAITS: Duration = Duration::from_secs(33);
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn after_a_deletion_nothing_begins_and_after_its_return_nothing_leaves() {
    let stage = Stage::set("stop", VALUE);
    let story = Story::of(&stage, |_| (), delete, LONGER_THAN_A_CONNECTION_WAITS);
    story.holds(&["share_revoked", "secret_unknown"]);
}

#[test]
fn after_a_revocation_nothing_begins_and_after_its_return_nothing_leaves() {
    let stage = Stage::set("revoke", VALUE);
    let story = Story::of(&stage, |_| (), revoke, A_WHILE);
    story.holds(&["share_revoked"]);
    for taken_back in [r#"{"spec":{"revoked":false}}"#, r#"{"spec":{"revoked":null}}"#] {
        let patch = ["patch", "secretshare", "partner", "--type=merge", "--patch", taken_back];
        stage.owner.run(&patch).expect_refused("spec.revoked is final");
    }
}

#[test]
fn after_its_end_nothing_begins_under_a_share_and_once_that_shows_nothing_leaves() {
    let stage = Stage::set("expire", VALUE);
    let story = Story::of(&stage, |_| (), expire, A_WHILE);
    story.holds(&["share_expired"]);
    let revoked = condition::of(&stage.owner, "secretshare", "partner", "Revoked");
    assert_eq!((revoked.status.as_str(), revoked.reason.as_str()), ("True", "Expired"));
}

#[test]
fn a_replica_that_is_cut_off_from_the_api_server_hinders_no_stop() {
    let stage = Stage::set("stop-api", VALUE);
    let story = Story::of(&stage, cut_off, delete, A_WHILE);
    story.was_hindered(1);
    story.holds(&["share_revoked", "secret_unknown"]);
}

#[test]
fn a_replica_that_is_cut_off_from_the_api_server_hinders_no_revocation() {
    let stage = Stage::set("revoke-api", VALUE);
    let story = Story::of(&stage, cut_off, revoke, A_WHILE);
    story.was_hindered(1);
    story.holds(&["share_revoked"]);
}

#[test]
fn a_replica_that_is_cut_off_from_the_api_server_hinders_no_end() {
    let stage = Stage::set("expire-api", VALUE);
    let story = Story::of(&stage, cut_off, expire, A_WHILE);
    story.was_hindered(1);
    story.holds(&["share_expired"]);
}

#[test]
fn while_every_replica_is_cut_off_from_the_api_server_nothing_begins_and_the_deletion_waits() {
    let stage = Stage::set("stop-apis", VALUE);
    let cut_all = |_: &[Pod]| -> Vec<Cut> {
        let replicas = operator::pods().into_iter().map(|replica| replica.container("operator"));
        replicas.map(|replica| Cut::between(&replica, &api_server())).collect()
    };
    let accept = |stage: &Stage| {
        let accepted = stopping::accept_deletion(stage);
        // Twice the longest stop: nobody may call it complete who could not read it.
        std::thread::sleep(LONGEST_STOP * 2);
        let share = stage.owner.json("secretshare", "partner");
        assert!(share["metadata"]["finalizers"].is_array(), "{share}");
        stopping::Stopped { issued: accepted, accepted, returned: now() }
    };
    let story = Story::of(&stage, cut_all, accept, Duration::ZERO);
    story.injected_nothing_later(&["share_revoked", "secret_unknown", NO_ANSWER]);
    story.cut_the_streams();
    story.sent_nothing_later();
    stage.owner.run(&["wait", "secretshare/partner", "--for=delete", "--timeout=60s"]).expect_ok();
}

#[test]
fn sidecars_that_are_cut_off_from_the_operator_hinder_no_stop() {
    let stage = Stage::set("stop-line", VALUE);
    let story = Story::of(&stage, without_line, delete, A_WHILE);
    story.was_hindered(stopping::CALLERS);
    story.holds(&["share_revoked", "secret_unknown"]);
}

#[test]
fn sidecars_that_are_cut_off_from_the_operator_hinder_no_revocation() {
    let stage = Stage::set("revoke-line", VALUE);
    let story = Story::of(&stage, without_line, revoke, A_WHILE);
    story.was_hindered(stopping::CALLERS);
    story.holds(&["share_revoked"]);
}

#[test]
fn sidecars_that_are_cut_off_from_the_operator_hinder_no_end() {
    let stage = Stage::set("expire-line", VALUE);
    // Before what was granted until the cut runs out by itself, two seconds after it was asked for.
    let soon = |stage: &Stage| stopping::expire_within(stage, 2);
    let story = Story::of(&stage, without_line, soon, A_WHILE);
    story.was_hindered(stopping::CALLERS);
    story.holds(&["share_expired"]);
}

#[test]
fn a_replica_that_stands_still_hinders_no_stop_and_grants_nothing_when_it_goes_on() {
    let stage = Stage::set("stop-pause", VALUE);
    let story = Story::of(&stage, pause, delete, A_WHILE);
    story.was_hindered(1);
    story.holds(&["share_revoked", "secret_unknown"]);
}

#[test]
fn a_replica_that_stands_still_hinders_no_revocation_and_grants_nothing_when_it_goes_on() {
    let stage = Stage::set("revoke-pause", VALUE);
    let story = Story::of(&stage, pause, revoke, A_WHILE);
    story.was_hindered(1);
    story.holds(&["share_revoked"]);
}

#[test]
fn a_replica_that_stands_still_hinders_no_end_and_grants_nothing_when_it_goes_on() {
    let stage = Stage::set("expire-pause", VALUE);
    let story = Story::of(&stage, pause, expire, A_WHILE);
    story.was_hindered(1);
    story.holds(&["share_expired"]);
}

/// Cuts the callers off from every replica.
fn without_line(callers: &[Pod]) -> Vec<Cut> {
    let replicas: Vec<String> = operator::pods().into_iter().map(|replica| replica.address).collect();
    callers.iter().map(|pod| Cut::between(&pod.container("app"), &replicas)).collect()
}

/// Cuts the replica that the first caller asks off from the API server.
fn cut_off(callers: &[Pod]) -> Cut {
    hindered(callers, |replica| Cut::between(replica, &api_server()))
}

/// Has the replica that the first caller asks stand still.
fn pause(callers: &[Pod]) -> Paused {
    hindered(callers, Container::pause)
}

/// Hinders the replica that the first caller asks: it is still the same one afterwards, for a sidecar that finds its
/// replica slow leaves it.
fn hindered<H>(callers: &[Pod], hinder: impl Fn(&Container) -> H) -> H {
    eventually(|| {
        let replica = operator::replica_of(&callers[0]);
        let hindrance = hinder(&replica.container("operator"));
        let asked = operator::replica_of(&callers[0]).name;
        if asked == replica.name { Ok(hindrance) } else { Err(format!("{asked} is asked now")) }
    })
}
