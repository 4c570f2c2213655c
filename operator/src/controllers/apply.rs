//! How a controller writes: conditions, status and finalizers.
//!
//! Every write names the `resourceVersion` it was decided on, so a decision about an object that has moved on is
//! dropped and made again, and nothing is written when nothing changed. Must never be added: a write without that
//! comparison, or a retry of one; the controller reads and decides again instead.

use std::fmt::Debug;

use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use keylend_crds::{Condition, ConditionType, Reason, condition::ConditionStatus};

/// The name under which every write of ours is recorded in `managedFields`.
pub const FIELD_MANAGER: &str = "keylend-operator";

/// The longest message of a condition, in characters: the schema's bound.
const MAX_MESSAGE_CHARACTERS: usize = 1024;

/// What came of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The API server has it.
    Written,
    /// The object says so already; nothing was sent.
    Unchanged,
    /// The object has moved on or is gone; nothing was written, read it again.
    Conflict,
}

/// The conditions `new` as they are written: an entry whose status is the `previous` one keeps its transition time.
///
/// `new` is the whole list; a type it leaves out is gone.
#[must_use]
pub fn conditioned(
    previous: &[Condition],
    new: &[(ConditionType, ConditionStatus, Reason, String)],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |(type_, status, reason, message): &(ConditionType, ConditionStatus, Reason, String)| {
        let unchanged = previous.iter().find(|old| old.type_ == *type_ && old.status == *status);
        Condition {
            type_: *type_,
            status: *status,
            reason: *reason,
            message: message.chars().take(MAX_MESSAGE_CHARACTERS).collect(),
            last_transition_time: unchanged
                .map_or_else(|| rfc3339(now), |old| old.last_transition_time.clone()),
            observed_generation: generation,
        }
    };
    new.iter().map(condition).collect()
}

/// A time as Kubernetes writes it: RFC 3339, UTC, whole seconds.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Replaces the status of `object` by `status`, if the object is still the one that was read.
///
/// # Errors
/// The client's, but not a conflict or a missing object: those are [`Outcome::Conflict`].
pub async fn patch_status<K>(api: &Api<K>, object: &K, status: Value) -> Result<Outcome, kube::Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let current = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
    if current.get("status") == Some(&status) {
        return Ok(Outcome::Unchanged);
    }
    let patch = json!([same_version(object), { "op": "add", "path": "/status", "value": status }]);
    let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    outcome(api.patch_status(&object.name_any(), &parameters(), &Patch::Json::<()>(patch)).await)
}

/// Adds `finalizer` to `object`, if the object is still the one that was read.
///
/// # Errors
/// The client's, but not a conflict or a missing object: those are [`Outcome::Conflict`].
pub async fn add_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Outcome, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    if has_finalizer(object, finalizer) {
        return Ok(Outcome::Unchanged);
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(finalizer.to_owned());
    set_finalizers(api, object, &finalizers).await
}

/// Drops `finalizer` from `object`, if the object is still the one that was read.
///
/// # Errors
/// The client's, but not a conflict or a missing object: those are [`Outcome::Conflict`].
pub async fn drop_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Outcome, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    if !has_finalizer(object, finalizer) {
        return Ok(Outcome::Unchanged);
    }
    let finalizers: Vec<String> = object.finalizers().iter().filter(|f| *f != finalizer).cloned().collect();
    set_finalizers(api, object, &finalizers).await
}

/// Whether `object` carries `finalizer`.
#[must_use]
pub fn has_finalizer<K: Resource>(object: &K, finalizer: &str) -> bool {
    object.finalizers().iter().any(|f| f == finalizer)
}

async fn set_finalizers<K>(api: &Api<K>, object: &K, finalizers: &[String]) -> Result<Outcome, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let patch = json!([
        same_version(object),
        { "op": "add", "path": "/metadata/finalizers", "value": finalizers },
    ]);
    let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    outcome(api.patch(&object.name_any(), &parameters(), &Patch::Json::<()>(patch)).await)
}

/// A patch that sets the `resourceVersion` is refused with 409 unless it is the stored one.
fn same_version<K: Resource>(object: &K) -> Value {
    let version = object.resource_version().unwrap_or_default();
    json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version })
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// What became of a write that is compared with what was read; who moved on or is gone is no error.
pub(crate) fn outcome<K>(answer: Result<K, kube::Error>) -> Result<Outcome, kube::Error> {
    match answer {
        Ok(_) => Ok(Outcome::Written),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Outcome::Conflict),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use keylend_api_server::ApiServer;
    use keylend_crds::Secret;

    use super::*;

    const THEN: &str = "2026-01-01T00:00:00Z";

    fn now() -> Timestamp {
        "2026-02-02T10:20:30.987Z".parse().unwrap()
    }

    fn before(status: ConditionStatus) -> Vec<Condition> {
        vec![Condition {
            type_: ConditionType::Ready,
            status,
            reason: Reason::NoValue,
            message: "before".to_owned(),
            last_transition_time: THEN.to_owned(),
            observed_generation: 1,
        }]
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        use ConditionStatus::{False, True};
        for (previous, expected) in
            [(vec![], "2026-02-02T10:20:30Z"), (before(False), THEN), (before(True), "2026-02-02T10:20:30Z")]
        {
            let new = [(ConditionType::Ready, False, Reason::BlobRefused, "after".to_owned())];
            let written = conditioned(&previous, &new, 7, now());
            assert_eq!(written.len(), 1);
            assert_eq!(written[0].last_transition_time, expected, "{previous:?}");
            assert_eq!(written[0].reason, Reason::BlobRefused);
            assert_eq!(written[0].message, "after");
            assert_eq!(written[0].observed_generation, 7);
        }
    }

    #[test]
    fn a_type_left_out_is_gone_and_a_long_message_is_cut_to_the_schema_s_bound() {
        let new =
            [(ConditionType::SourceStale, ConditionStatus::True, Reason::OlderThanLive, "ä".repeat(3000))];
        let written = conditioned(&before(ConditionStatus::True), &new, 1, now());
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].type_, ConditionType::SourceStale);
        assert_eq!(written[0].message.chars().count(), MAX_MESSAGE_CHARACTERS);
    }

    const PATH: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/keylendsecrets/stripe-api-key";

    fn stored(api: &ApiServer) -> Secret {
        api.set(
            PATH,
            json!({
                "apiVersion": "keylend.dev/v1alpha1",
                "kind": "Secret",
                "metadata": { "name": "stripe-api-key", "namespace": "payments", "finalizers": ["other/one"] },
                "spec": { "type": "String" },
            }),
        );
        serde_json::from_value(api.object(PATH).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_write_is_made_on_the_object_as_read_or_not_at_all() {
        let api = ApiServer::begin();
        let secrets = Api::<Secret>::namespaced(api.client(), "payments");
        let (old, current) = (stored(&api), stored(&api));
        let status = || json!({ "observedGeneration": 1 });
        assert_eq!(patch_status(&secrets, &old, status()).await.unwrap(), Outcome::Conflict);
        assert_eq!(add_finalizer(&secrets, &old, "ours/one").await.unwrap(), Outcome::Conflict);
        assert_eq!(drop_finalizer(&secrets, &old, "other/one").await.unwrap(), Outcome::Conflict);
        assert_eq!(patch_status(&secrets, &current, status()).await.unwrap(), Outcome::Written);
        let written = secrets.get("stripe-api-key").await.unwrap();
        assert_eq!(patch_status(&secrets, &written, status()).await.unwrap(), Outcome::Unchanged);
        api.unset(PATH);
        assert_eq!(patch_status(&secrets, &written, json!({})).await.unwrap(), Outcome::Conflict);
    }

    #[tokio::test]
    async fn finalizers_of_others_are_left_as_they_are() {
        let api = ApiServer::begin();
        let secrets = Api::<Secret>::namespaced(api.client(), "payments");
        assert_eq!(add_finalizer(&secrets, &stored(&api), "ours/one").await.unwrap(), Outcome::Written);
        let both = secrets.get("stripe-api-key").await.unwrap();
        assert_eq!(both.finalizers(), ["other/one", "ours/one"]);
        assert_eq!(add_finalizer(&secrets, &both, "ours/one").await.unwrap(), Outcome::Unchanged);
        assert_eq!(drop_finalizer(&secrets, &both, "ours/one").await.unwrap(), Outcome::Written);
        let one = secrets.get("stripe-api-key").await.unwrap();
        assert_eq!(one.finalizers(), ["other/one"]);
        assert_eq!(drop_finalizer(&secrets, &one, "ours/one").await.unwrap(), Outcome::Unchanged);
    }
}
