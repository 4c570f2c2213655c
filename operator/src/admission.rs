//! The webhook story: the API server shows us a pod that asks for the sidecar, and we give back the injected pod.
//!
//! The API server does not authenticate itself to webhooks, so anybody in the cluster may call this. It is a pure
//! function of its input and our settings: it reads nothing, writes nothing and never says whether anything exists.

pub mod bundle;
pub mod inject;
mod spec;
pub mod verify;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};

use self::inject::InjectionSettings;
use crate::{
    fault::{Fault, with_causes},
    resolve::respond::bare,
};

/// Where the API server sends pods.
pub const INJECT_PATH: &str = "/inject";

/// The largest pod that etcd takes (1.5 MiB), with what a review adds.
const MAX_REVIEW_BYTES: usize = 2 * 1024 * 1024;
/// Nearly every pod is smaller than this; anybody may send one at any time.
const SMALL_REVIEW_BYTES: usize = 64 * 1024;
/// How many larger ones, and how many small ones, are in memory at once.
const LARGE_REVIEWS: usize = 4;
const SMALL_REVIEWS: usize = 128;
/// The most maps, lists and further members that a review may have; each takes some hundred bytes once it is read.
const MAX_PARTS: u32 = 50_000;
/// How many of them are in memory at once.
const PARTS: usize = 60_000;
/// How long a review may take to arrive: less than the API server waits.
const ARRIVAL: Duration = Duration::from_secs(3);

/// Reviews pods.
pub struct Reviewer {
    settings: InjectionSettings,
    large: Semaphore,
    small: Semaphore,
    parts: Semaphore,
}

impl Reviewer {
    /// Injects what `settings` say.
    #[must_use]
    pub fn new(settings: InjectionSettings) -> Self {
        let [large, small, parts] = [LARGE_REVIEWS, SMALL_REVIEWS, PARTS].map(Semaphore::new);
        Self { settings, large, small, parts }
    }

    /// Answers one call of the API server.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() != Method::POST || request.uri().path() != INJECT_PATH {
            return bare(StatusCode::NOT_FOUND);
        }
        match timeout(ARRIVAL, self.review(request.into_body())).await {
            Ok(Ok(response)) => reply(&response),
            Ok(Err(status)) => bare(status),
            Err(_late) => bare(StatusCode::REQUEST_TIMEOUT),
        }
    }

    /// Reads one review and decides about it. What is in memory at once is bounded, whoever sends it; one that does not
    /// say its size counts as a large one.
    async fn review<B>(&self, body: B) -> Result<AdmissionResponse, StatusCode>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let small = body.size_hint().upper().is_some_and(|bytes| bytes <= SMALL_REVIEW_BYTES as u64);
        let _place = if small { &self.small } else { &self.large }.acquire().await;
        let body = Limited::new(body, MAX_REVIEW_BYTES).collect().await;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
        let parts = u32::try_from(parts(&body)).map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        if parts > MAX_PARTS {
            return too_many_parts(&body);
        }
        let _parts = self.parts.acquire_many(parts).await;
        let review = serde_json::from_slice::<AdmissionReview<DynamicObject>>(&body);
        let request: AdmissionRequest<DynamicObject> =
            review.map_err(|_| StatusCode::BAD_REQUEST)?.try_into().map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(review_pod(&request, &self.settings))
    }
}

/// How many maps, lists and further members there are in `body`; what stands in strings is none.
fn parts(body: &[u8]) -> usize {
    let (mut parts, mut quoted, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' | b',' if !quoted => parts += 1,
            _ => {}
        }
    }
    parts
}

/// The refusal of a review that is not read.
fn too_many_parts(body: &[u8]) -> Result<AdmissionResponse, StatusCode> {
    let Named { request } = serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut response = AdmissionResponse::invalid(format!(
        "Keylend injects no pod of more than {MAX_PARTS} maps, lists and members; make it smaller"
    ));
    response.uid = request.uid;
    Ok(response)
}

/// As much of a review as its refusal needs.
#[derive(Deserialize)]
struct Named {
    request: Numbered,
}

#[derive(Deserialize)]
struct Numbered {
    uid: String,
}

/// Decides about one pod.
fn review_pod(request: &AdmissionRequest<DynamicObject>, settings: &InjectionSettings) -> AdmissionResponse {
    let unchanged = AdmissionResponse::from(request);
    let Some(object) = &request.object else { return unchanged };
    if request.operation != Operation::Create || request.kind.kind != "Pod" || !asks(object) {
        return unchanged;
    }
    match injected(object, settings) {
        Ok(patched) => patched_response(unchanged, &patched),
        Err(sentence) => unchanged.deny(sentence),
    }
}

fn asks(object: &DynamicObject) -> bool {
    let annotations = object.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(keylend_crds::INJECT_ANNOTATION)).map(String::as_str) == Some("true")
}

fn injected(object: &DynamicObject, settings: &InjectionSettings) -> Result<Value, String> {
    let pod = serde_json::to_value(object).map_err(|_| "Keylend cannot read this pod".to_owned())?;
    inject::inject(&pod, settings).map_err(|error| error.to_string())
}

/// Replaces specification and labels as a whole: what was there is in the replacement.
fn patched_response(response: AdmissionResponse, pod: &Value) -> AdmissionResponse {
    let patch = json!([
        {"op": "replace", "path": "/spec", "value": pod["spec"]},
        {"op": "add", "path": "/metadata/labels", "value": pod["metadata"]["labels"]},
    ]);
    match serde_json::from_value(patch).ok().and_then(|patch| response.clone().with_patch(patch).ok()) {
        Some(patched) => patched,
        None => response.deny("Keylend cannot write this pod"),
    }
}

fn reply(response: &AdmissionResponse) -> Response<Full<Bytes>> {
    match serde_json::to_vec(&response.clone().into_review()) {
        Ok(bytes) => {
            let mut reply = Response::new(Full::new(Bytes::from(bytes)));
            reply
                .headers_mut()
                .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            reply
        }
        Err(error) => {
            let fault = Fault::new("writing an admission response", error);
            tracing::error!(error = with_causes(&fault), "a pod could not be reviewed");
            bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(annotations: &Value, spec: &Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1", "name": "checkout", "namespace": "partner", "operation": "CREATE",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "userInfo": {}, "dryRun": false,
                "object": {
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": "checkout", "annotations": annotations}, "spec": spec,
                },
            },
        })
    }

    async fn answered(body: Vec<u8>) -> (StatusCode, Value) {
        let request = Request::post(INJECT_PATH).body(Full::new(Bytes::from(body))).unwrap();
        let reply = Reviewer::new(inject::tests::settings()).answer(request).await;
        let status = reply.status();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    #[tokio::test]
    async fn only_a_pod_that_asks_is_changed() {
        let spec = json!({"containers": [{"name": "app", "image": "app"}]});
        let asked = review(&json!({"keylend.dev/inject": "true"}), &spec);
        let (_, reply) = answered(serde_json::to_vec(&asked).unwrap()).await;
        assert_eq!(reply["response"]["allowed"], true);
        assert!(reply["response"]["patch"].is_array());
        assert_eq!(reply["kind"], "AdmissionReview");
        for annotations in [json!({}), json!({"keylend.dev/inject": "false"})] {
            let (_, reply) = answered(serde_json::to_vec(&review(&annotations, &spec)).unwrap()).await;
            assert_eq!(reply["response"]["allowed"], true);
            assert!(reply["response"]["patch"].is_null());
        }
    }

    #[tokio::test]
    async fn a_pod_that_cannot_be_injected_is_refused_with_our_name() {
        let spec = json!({"containers": [{"name": "app", "image": "app"}], "hostPID": true});
        let asked = review(&json!({"keylend.dev/inject": "true"}), &spec);
        let (_, reply) = answered(serde_json::to_vec(&asked).unwrap()).await;
        assert_eq!(reply["response"]["allowed"], false);
        assert!(reply["response"]["status"]["message"].as_str().unwrap().starts_with("Keylend"));
    }

    #[tokio::test]
    async fn a_small_pod_is_reviewed_while_large_ones_dawdle() {
        let reviewer = Reviewer::new(inject::tests::settings());
        let all = reviewer.large.acquire_many(4).await.unwrap();
        let request = |body: Vec<u8>| Request::post(INJECT_PATH).body(Full::new(Bytes::from(body))).unwrap();
        let spec = json!({"containers": [{"name": "app", "image": "app"}]});
        let small = serde_json::to_vec(&review(&json!({"keylend.dev/inject": "true"}), &spec)).unwrap();
        assert_eq!(reviewer.answer(request(small)).await.status(), StatusCode::OK);
        let large = vec![b' '; SMALL_REVIEW_BYTES + 1];
        tokio::time::pause();
        assert_eq!(reviewer.answer(request(large)).await.status(), StatusCode::REQUEST_TIMEOUT);
        drop(all);
        let excessive = request(vec![b' '; MAX_REVIEW_BYTES + 1]);
        assert_eq!(reviewer.answer(excessive).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn what_would_fill_memory_once_it_is_read_is_refused_unread() {
        let many = |count: usize| json!({"containers": [], "x": vec![json!({"": 0}); count]});
        for (count, allowed) in [(1_000, true), (30_000, false)] {
            let body = serde_json::to_vec(&review(&json!({}), &many(count))).unwrap();
            assert!(body.len() < MAX_REVIEW_BYTES);
            let (status, reply) = answered(body).await;
            assert_eq!((status, &reply["response"]["allowed"]), (StatusCode::OK, &json!(allowed)), "{reply}");
            assert_eq!(reply["response"]["uid"], "1");
        }
        let long = "\\\",{[".repeat(100_000);
        let text = review(&json!({"keylend.dev/inject": "true"}), &json!({"containers": [], "x": long}));
        let (_, reply) = answered(serde_json::to_vec(&text).unwrap()).await;
        assert_eq!(reply["response"]["allowed"], true, "text counts as one");
    }

    #[tokio::test]
    async fn what_is_no_review_is_refused() {
        for body in [b"".to_vec(), b"{}".to_vec(), b"[1]".to_vec(), b"\xff".to_vec()] {
            assert_eq!(answered(body).await.0, StatusCode::BAD_REQUEST);
        }
    }
}
