//! The webhook story: the API server shows us a pod that asks for the sidecar, and we give back the injected pod.
//!
//! The API server does not authenticate itself to webhooks, so anybody in the cluster may call this. It is a pure
//! function of its input and our settings: it reads nothing, writes nothing and never says whether anything exists.

pub mod bundle;
pub mod inject;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
};
use serde_json::{Value, json};

use self::inject::InjectionSettings;
use crate::{fault::Fault, resolve::respond::bare};

/// Where the API server sends pods.
pub const INJECT_PATH: &str = "/inject";

/// The API server's own bound for a request (3 MiB), which a review holds once.
const MAX_REVIEW_BYTES: usize = 4 * 1024 * 1024;

/// Answers one call of the API server.
pub async fn answer<B>(settings: Arc<InjectionSettings>, request: Request<B>) -> Response<Full<Bytes>>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if request.method() != Method::POST || request.uri().path() != INJECT_PATH {
        return bare(StatusCode::NOT_FOUND);
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_REVIEW_BYTES).collect().await else {
        return bare(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let Ok(review) = serde_json::from_slice::<AdmissionReview<DynamicObject>>(&body.to_bytes()) else {
        return bare(StatusCode::BAD_REQUEST);
    };
    let request: Result<AdmissionRequest<DynamicObject>, _> = review.try_into();
    match request {
        Ok(request) => reply(&review_pod(&request, &settings)),
        Err(_) => bare(StatusCode::BAD_REQUEST),
    }
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
            tracing::error!(error = &fault as &dyn std::error::Error, "a pod could not be reviewed");
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
        let reply = answer(Arc::new(inject::tests::settings()), request).await;
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
    async fn what_is_no_review_is_refused() {
        for body in [b"".to_vec(), b"{}".to_vec(), b"[1]".to_vec(), b"\xff".to_vec()] {
            assert_eq!(answered(body).await.0, StatusCode::BAD_REQUEST);
        }
    }
}
