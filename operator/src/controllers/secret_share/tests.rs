//! Reconciles against an API server.

use keylend_api_server::ApiServer;
use keylend_contract::wire::GRANT_TERM;
use keylend_crds::{ConditionType, Reason, condition::ConditionStatus};
use serde_json::{Value, json};

use super::*;
use crate::{
    audit::{
        AuditLog,
        tests::{Scratch, hung},
    },
    controllers::tell::tests::events,
    resolve::scenario::{NOW, Scenario},
    revocation::MARGIN,
    world::tests::watched,
};

const SHARE: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/secretshares/partner";
/// No promise, but the end of a test's patience.
const A_WHILE: Duration = Duration::from_secs(30);
const SECRET: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/keylendsecrets/stripe";

/// One run of one replica, and what it has put on record.
struct Replica {
    context: Arc<Context>,
    scratch: Scratch,
}

impl Replica {
    fn of(api: &ApiServer) -> Self {
        let scratch = Scratch::new();
        Self { context: context(api, scratch.open()), scratch }
    }

    /// Looks at the share as it is stored now.
    async fn look(&self, api: &ApiServer) -> Result<Action, ReconcileError> {
        look(api, &self.context).await
    }

    /// The changes on record, once there are so many.
    async fn changes(&self, count: usize) -> Vec<String> {
        let changes = || -> Vec<String> {
            let text = self.scratch.text();
            let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            rows.filter_map(|row| row["change"].as_str().map(ToOwned::to_owned)).collect()
        };
        for _ in 0..2_000 {
            if changes().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        changes()
    }
}

fn context(api: &ApiServer, audit: AuditLog) -> Arc<Context> {
    let client = api.client();
    Arc::new(Context {
        teller: Teller::new(&client, audit, "keylend-operator-0"),
        client,
        watched: watched(&Scenario::complete()),
        incarnation: Mutex::default(),
    })
}

async fn look(api: &ApiServer, context: &Arc<Context>) -> Result<Action, ReconcileError> {
    let share = serde_json::from_value(api.object(SHARE).unwrap()).unwrap();
    reconcile(Arc::new(share), context.clone()).await
}

fn stored(change: impl FnOnce(&mut Value)) -> ApiServer {
    let api = ApiServer::begin();
    let scenario = Scenario::complete();
    let mut share = serde_json::to_value(scenario.share.unwrap()).unwrap();
    share["spec"].as_object_mut().unwrap().remove("expiresAt");
    change(&mut share);
    api.set(SHARE, share);
    api.set(SECRET, serde_json::to_value(scenario.secret.unwrap()).unwrap());
    api
}

fn condition(api: &ApiServer, type_: ConditionType) -> (ConditionStatus, Reason) {
    let share: SecretShare = serde_json::from_value(api.object(SHARE).unwrap()).unwrap();
    let conditions = share.status.unwrap().conditions;
    let found = conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status, found.reason)
}

#[tokio::test]
async fn a_new_share_gets_finalizer_pins_and_conditions_and_then_nothing_more() {
    let api = stored(|share| {
        share["metadata"]["finalizers"] = json!([]);
        share.as_object_mut().unwrap().remove("status");
    });
    let replica = Replica::of(&api);
    for _ in 0..2 {
        replica.look(&api).await.unwrap();
    }
    let share = api.object(SHARE).unwrap();
    assert_eq!(share["metadata"]["finalizers"], json!([STOP_FINALIZER]));
    assert_eq!(share["status"]["secretUid"], "uid-of-secret");
    assert_eq!(share["status"]["recipientNamespaceUid"], "uid-of-partner");
    assert_eq!(condition(&api, ConditionType::Ready), (ConditionStatus::True, Reason::Active));
    assert_eq!(condition(&api, ConditionType::Accepted), (ConditionStatus::True, Reason::LinkedSecretFound));
    let settled = api.object(SHARE);
    replica.look(&api).await.unwrap();
    assert_eq!(api.object(SHARE), settled, "nothing is written when nothing changed");
}

#[tokio::test]
async fn a_deleted_share_goes_after_the_wait_though_no_status_can_be_written() {
    let api = stored(|share| share["metadata"]["deletionTimestamp"] = json!(NOW));
    let replica = Replica::of(&api);
    api.fail(&format!("PATCH {SHARE}/status"), 422);
    let started = Instant::now();
    while api.object(SHARE).is_some() {
        assert!(started.elapsed() < GRANT_TERM + MARGIN + A_WHILE, "it takes too long");
        replica.look(&api).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= GRANT_TERM + MARGIN);
    assert_eq!(replica.changes(2).await, ["share_deleted", "share_stopped"]);
    assert_eq!(events(&api, 1).await, ["Normal Stopped"]);
}

#[tokio::test]
async fn a_stop_takes_no_longer_though_nothing_can_be_put_on_record_or_told() {
    let api = stored(|share| share["metadata"]["deletionTimestamp"] = json!(NOW));
    let (audit, _disk) = hung(Duration::from_secs(2));
    let context = context(&api, audit);
    api.fail("POST /apis/events.k8s.io", 403);
    let started = Instant::now();
    while api.object(SHARE).is_some() {
        assert!(started.elapsed() < GRANT_TERM + MARGIN + A_WHILE, "it takes too long");
        let looked = Instant::now();
        look(&api, &context).await.unwrap();
        assert!(looked.elapsed() < Duration::from_millis(1_900), "{:?}", looked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(context.teller.audit().reading().late > 0, "it is counted");
}

#[tokio::test]
async fn a_share_that_cannot_be_used_is_warned_of_once() {
    let api = stored(|share| share["spec"]["use"]["domains"] = json!(["EXAMPLE.com"]));
    let replica = Replica::of(&api);
    for _ in 0..3 {
        replica.look(&api).await.unwrap();
        assert_eq!(events(&api, 1).await, ["Warning PolicyInvalid"]);
    }
    let told = api.log().iter().filter(|line| line.contains("/events")).count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_revoked_share_says_so_after_the_wait_and_any_replica_may_finish() {
    let api = stored(|share| share["spec"]["revoked"] = json!(true));
    let (dies, finishes) = (Replica::of(&api), Replica::of(&api));
    dies.look(&api).await.unwrap();
    drop(dies);
    assert_eq!(condition(&api, ConditionType::Revoked), (ConditionStatus::False, Reason::Stopping));
    let started = Instant::now();
    while condition(&api, ConditionType::Revoked).0 == ConditionStatus::False {
        assert!(started.elapsed() < GRANT_TERM + MARGIN + A_WHILE, "it takes too long");
        finishes.look(&api).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= GRANT_TERM + MARGIN);
    assert_eq!(condition(&api, ConditionType::Revoked), (ConditionStatus::True, Reason::Stopped));
    assert_eq!(finishes.changes(2).await, ["share_revoked", "share_stopped"]);

    // Deleted later, by another run: what was complete stays complete.
    let mut share = api.object(SHARE).unwrap();
    share["metadata"]["deletionTimestamp"] = json!(NOW);
    api.set(SHARE, share);
    let later = Replica::of(&api);
    later.look(&api).await.unwrap();
    assert_eq!(api.object(SHARE), None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(later.changes(0).await, [""; 0], "one row a stop");
}

#[test]
fn an_expiry_is_written_down_before_its_wait_begins() {
    let api = ApiServer::begin();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let replica = Replica::of(&api);
        let mut share = Scenario::complete().share.unwrap();
        let ended: Timestamp = "2026-06-02T12:00:00Z".parse().unwrap();
        let early: Timestamp = NOW.parse().unwrap();
        let start = Instant::now();
        let expired = crate::revocation::Stop::Expired { generation: 3 };
        assert_eq!(replica.context.progress(&share, early, start), Progress::NotStopped);
        assert_eq!(replica.context.progress(&share, ended, start), Progress::Unrecorded(expired));
        let later = start + Duration::from_hours(1);
        assert_eq!(replica.context.progress(&share, ended, later), Progress::Unrecorded(expired));

        let Step::Status(status) = plan(
            &share,
            &View { secret: None, namespace_uid: None, accepted: false },
            Progress::Unrecorded(expired),
            ended,
        )
        .step
        else {
            panic!("it is written down")
        };
        share.status = Some(*status);
        // On record, it is so for a replica whose clock is behind as well.
        for now in [early, ended] {
            let whole = Progress::Waiting(GRANT_TERM + MARGIN);
            assert_eq!(replica.context.progress(&share, now, later), whole);
        }
        let over = later + GRANT_TERM + MARGIN;
        assert_eq!(replica.context.progress(&share, early, over), Progress::Complete(expired));
        // Extended by its owner, it is another generation.
        share.metadata.generation = Some(4);
        assert_eq!(replica.context.progress(&share, early, over), Progress::NotStopped);
    });
}
