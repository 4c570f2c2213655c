//! Enrolments against an API server: one key a container, and nobody else's.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use jiff::SignedDuration;
use keylend_api_server::ApiServer;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{proof::tests::signed_by, *};
use crate::{
    admission::inject::{
        self,
        tests::{DIGEST, app},
    },
    audit::tests::open_in,
    authority, policies,
    storage::NAMESPACE,
};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const POD: &str = "/api/v1/namespaces/partner/pods/checkout-0";
const ACCOUNT: &str = "/api/v1/namespaces/partner/serviceaccounts/checkout";

/// A replica, and the cluster it looks at.
struct Cluster {
    api: ApiServer,
    /// The pod's own.
    token: String,
    enrolment: Enrolment,
    directory: PathBuf,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Cluster {
    /// Guarded, with one injected pod.
    fn new(name: &str) -> Self {
        let api = ApiServer::begin();
        policies::tests::stand(&api, &Policies::built_in().unwrap());
        api.set(ACCOUNT, json!({"metadata": {"uid": "uid-of-checkout"}}));
        let directory = std::env::temp_dir().join(format!("keylend-enrol-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let enrolment = replica(&api, &directory, inject::tests::settings());
        let mut cluster = Self { api, token: String::new(), enrolment, directory };
        cluster.runs("containerd://a");
        cluster.token = cluster.token_for(AUDIENCE);
        cluster.wait_until_known();
        cluster
    }

    /// A token of the pod for `audience`.
    fn token_for(&self, audience: &str) -> String {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "name": "checkout-0", "uid": "uid-of-pod"});
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [audience], "boundObjectRef": pod}});
        let made = self.api.post(&format!("{ACCOUNT}/token"), &request);
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// The API server looks first at what it watches, which may still be the last test's.
    fn wait_until_known(&self) {
        let spec = json!({"token": self.token, "audiences": [AUDIENCE]});
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        let known = (0..500).any(|_| {
            sleep(Duration::from_millis(10));
            self.api.post(REVIEWS, &review)["status"]["authenticated"] == true
        });
        assert!(known, "the API server does not know its own token");
    }

    /// The pod's sidecar runs as this container.
    fn runs(&self, container: &str) {
        self.change(|pod| {
            pod["status"]["initContainerStatuses"] = json!([{
                "name": "keylend-sidecar", "containerID": container, "state": {"running": {}},
                "imageID": format!("registry.example/keylend-sidecar@{DIGEST}"),
            }]);
        });
    }

    /// Changes the pod, beginning with the one that the injector makes.
    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut pod = self.api.object(POD).unwrap_or_else(|| {
            let mut pod = inject::inject(&app(), &inject::tests::settings()).unwrap();
            pod["metadata"]["name"] = json!("checkout-0");
            pod["metadata"]["uid"] = json!("uid-of-pod");
            pod["spec"]["serviceAccountName"] = json!("checkout");
            pod
        });
        change(&mut pod);
        self.api.set(POD, pod);
    }

    /// What comes of an enrolment: `enrolled`, or the refusal's code.
    async fn enrol(&self, key: &KeyPair) -> &'static str {
        match self.enrolment.enrol(signed_by(key, &self.token, &self.token)).await {
            Ok(_) => "enrolled",
            Err(Failure::Refused(refusal)) => refusal.code(),
            Err(Failure::Broke(fault)) => panic!("{fault:?}"),
        }
    }

    /// As after an upgrade: another replica, which injects something else now.
    fn upgraded(&mut self) {
        let settings = InjectionSettings {
            image: "registry.example/keylend-sidecar@sha256:newer".into(),
            image_pull_policy: "Always".into(),
            operator_roots_pem: "other roots".into(),
        };
        self.enrolment = replica(&self.api, &self.directory.join("upgraded"), settings);
    }

    /// Another key asked for the container that long ago.
    fn suspected(&self, container: &str, seconds: i64) {
        let path = record(container);
        let mut record = self.api.object(&path).unwrap();
        let since = Timestamp::now() - SignedDuration::from_secs(seconds);
        assert_eq!(record["metadata"]["labels"][SUSPICION_LABEL], WAITING);
        record["metadata"]["annotations"]["keylend.dev/suspected-at"] = json!(since.to_string());
        self.api.set(&path, record);
    }

    async fn settle(&self, container: &str) {
        self.enrolment.settle(&record_name("uid-of-pod", container)).await.unwrap();
    }

    fn alarms(&self) -> usize {
        self.rows("token_replayed")
    }

    /// How many rows name this.
    fn rows(&self, words: &str) -> usize {
        let below = [self.directory.clone(), self.directory.join("upgraded")];
        let files = below.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
        files.map(|file| fs::read_to_string(file).unwrap().matches(words).count()).sum()
    }
}

fn replica(api: &ApiServer, directory: &Path, settings: InjectionSettings) -> Enrolment {
    Enrolment::new(Tools {
        client: api.client(),
        authority: Arc::new(authority::tests::authority()),
        policies: Arc::new(Policies::built_in().unwrap()),
        settings,
        records: Records::new(api.client(), NAMESPACE),
        audit: open_in(directory),
    })
}

fn record(container: &str) -> String {
    let name = record_name("uid-of-pod", container);
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

#[tokio::test]
async fn a_running_sidecar_stays_enrolled_across_an_upgrade() {
    let mut cluster = Cluster::new("upgrade");
    let ours = key();
    assert_eq!(cluster.enrol(&ours).await, "enrolled");
    cluster.upgraded();
    assert_eq!(cluster.enrol(&ours).await, "enrolled");
    // A container that starts now must be what is injected now.
    cluster.runs("containerd://b");
    assert_eq!(cluster.enrol(&key()).await, "enrolment_refused");
    // And nothing else may have changed for the one that comes back.
    cluster.runs("containerd://a");
    cluster.change(|pod| pod["spec"]["initContainers"][0]["args"] = json!(["run", "--more"]));
    assert_eq!(cluster.enrol(&ours).await, "enrolment_refused");
}

#[tokio::test]
async fn a_key_is_on_record_before_it_is_bound_and_once() {
    let cluster = Cluster::new("record");
    let ours = key();
    assert_eq!(cluster.enrol(&ours).await, "enrolled");
    assert_eq!(cluster.enrol(&ours).await, "enrolled");
    assert_eq!(cluster.rows(r#""kind":"enrolment""#), 1);
    cluster.runs("containerd://b");
    cluster.enrolment.tools.audit.close().await;
    assert_eq!(cluster.enrol(&key()).await, "audit_unavailable");
    assert_eq!(cluster.api.object(&record("containerd://b")), None);
}

#[tokio::test]
async fn another_key_waits_and_then_nobody_is_served_until_the_container_is_new() {
    let cluster = Cluster::new("replay");
    let ours = key();
    assert_eq!(cluster.enrol(&ours).await, "enrolled");
    assert_eq!(cluster.enrol(&key()).await, "enrolment_pending");
    cluster.settle("containerd://a").await;
    assert_eq!((cluster.enrol(&ours).await, cluster.alarms()), ("enrolled", 0));
    cluster.suspected("containerd://a", 10);
    cluster.settle("containerd://a").await;
    cluster.settle("containerd://a").await;
    assert_eq!(cluster.alarms(), 1);
    assert_eq!(cluster.enrol(&key()).await, "enrolment_refused");
    assert_eq!(cluster.enrol(&ours).await, "enrolment_refused");
    cluster.runs("containerd://b");
    assert_eq!(cluster.enrol(&key()).await, "enrolled");
}

#[tokio::test]
async fn another_replica_raises_the_alarm_of_one_that_ended() {
    let mut cluster = Cluster::new("restart");
    assert_eq!(cluster.enrol(&key()).await, "enrolled");
    assert_eq!(cluster.enrol(&key()).await, "enrolment_pending");
    cluster.suspected("containerd://a", 11);
    cluster.upgraded();
    // Without anybody who settles, the next try does it.
    assert_eq!(cluster.enrol(&key()).await, "enrolment_pending");
    assert_eq!(cluster.enrol(&key()).await, "enrolment_refused");
    assert_eq!(cluster.alarms(), 1);
}

#[tokio::test]
async fn a_restart_that_shows_in_time_is_no_alarm() {
    let cluster = Cluster::new("late");
    let ours = key();
    assert_eq!(cluster.enrol(&ours).await, "enrolled");
    assert_eq!(cluster.enrol(&key()).await, "enrolment_pending");
    cluster.suspected("containerd://a", 11);
    cluster.runs("containerd://b");
    cluster.settle("containerd://a").await;
    let cleared = cluster.api.object(&record("containerd://a")).unwrap();
    assert!(cleared["metadata"]["labels"][SUSPICION_LABEL].is_null());
    assert_eq!(cluster.alarms(), 0);
}

#[tokio::test]
async fn only_the_records_of_pods_that_are_gone_are_swept() {
    let cluster = Cluster::new("sweep");
    assert_eq!(cluster.enrol(&key()).await, "enrolled");
    // An editor can take the label off, which hides the pod from the watch, not from a read.
    cluster.change(|pod| pod["metadata"]["labels"] = json!({}));
    assert_eq!(cluster.enrolment.sweep(|_| false).await.unwrap(), 0);
    cluster.change(|pod| pod["metadata"]["uid"] = json!("uid-of-another"));
    assert_eq!(cluster.enrolment.sweep(|uid| uid == "uid-of-pod").await.unwrap(), 0);
    assert_eq!(cluster.enrolment.sweep(|_| false).await.unwrap(), 1);
    assert_eq!(cluster.api.object(&record("containerd://a")), None);
}

#[tokio::test]
async fn what_is_refused_early_costs_nothing() {
    let mut cluster = Cluster::new("cost");
    let forged = signed_by(&key(), "kl-test-other", &cluster.token);
    assert!(cluster.enrolment.enrol(forged).await.is_err());
    assert!(cluster.api.log().is_empty());
    for (number, token) in
        ["kl-test-no-token".to_owned(), cluster.token_for("another")].into_iter().enumerate()
    {
        cluster.token = token;
        assert_eq!(cluster.enrol(&key()).await, "enrolment_refused");
        assert_eq!(cluster.api.log(), vec![format!("POST {REVIEWS}"); number + 1]);
    }
}

#[tokio::test]
async fn a_crowd_costs_one_look_at_the_policies_and_waits_its_turn() {
    let cluster = Cluster::new("crowd");
    let ours = key();
    for _ in 0..3 {
        assert_eq!(cluster.enrol(&ours).await, "enrolled");
    }
    let looks = cluster.api.log().iter().filter(|line| line.ends_with("keylend-no-exec")).count();
    assert_eq!(looks, 2, "one policy and one binding");
    let _all = cluster.enrolment.turns.acquire_many(16).await.unwrap();
    tokio::time::pause();
    assert_eq!(cluster.enrol(&ours).await, "enrolment_pending");
}

#[tokio::test]
async fn without_its_guards_or_as_another_pod_nothing_is_enrolled() {
    let cluster = Cluster::new("guards");
    // Made anew once its token was found good.
    cluster.api.after_each(|api, path| {
        if path == REVIEWS {
            let mut pod = api.object(POD).unwrap();
            pod["metadata"]["uid"] = json!("uid-of-another");
            api.set(POD, pod);
        }
    });
    assert_eq!(cluster.enrol(&key()).await, "enrolment_refused");
    assert_eq!(cluster.api.log().last(), Some(&format!("GET {POD}")));
    drop(cluster);
    let other = Cluster::new("unguarded");
    other.api.unset("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/keylend-no-exec");
    assert_eq!(other.enrol(&key()).await, "policies_missing");
}
