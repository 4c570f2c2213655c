//! What an enrolling container shows: that its key is its own, and a token of its pod.

use aws_lc_rs::signature;
use k8s_openapi::api::authentication::v1::TokenReview;
use keylend_contract::{
    refusal::Refusal,
    wire::{self, Enrol},
};
use x509_parser::{oid_registry, prelude::FromDer, x509::SubjectPublicKeyInfo};

use crate::admission::inject::AUDIENCE;

const MAX_PUBLIC_KEY_BYTES: usize = 256;
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The pod that a token was issued to.
pub(super) struct TokenHolder {
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) pod: String,
    pub(super) pod_uid: String,
}

/// Checks the signature by which the sender shows that the key is its own; gives back its `SubjectPublicKeyInfo`.
pub(super) fn prove_possession(request: &Enrol) -> Result<Vec<u8>, Refusal> {
    let refused = |_| Refusal::EnrolmentRefused;
    let public_key = wire::base64_bytes(&request.public_key).map_err(refused)?;
    let proof = wire::base64_bytes(&request.proof).map_err(refused)?;
    if public_key.len() > MAX_PUBLIC_KEY_BYTES {
        return Err(Refusal::EnrolmentRefused);
    }
    let (rest, parsed) =
        SubjectPublicKeyInfo::from_der(&public_key).map_err(|_| Refusal::EnrolmentRefused)?;
    let curve = parsed.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let p256 = parsed.algorithm.algorithm == oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve == Some(oid_registry::OID_EC_P256);
    if !rest.is_empty() || !p256 {
        return Err(Refusal::EnrolmentRefused);
    }
    let point = &parsed.subject_public_key.data;
    let statement = wire::enrolment_statement(&request.token, &public_key);
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point)
        .verify(&statement, &proof)
        .map_err(|_| Refusal::EnrolmentRefused)?;
    Ok(public_key)
}

/// Who a reviewed token was issued to, if it is one of ours and of a pod.
pub(super) fn holder(review: TokenReview) -> Option<TokenHolder> {
    let status = review.status?;
    if status.authenticated != Some(true) || !status.audiences?.iter().any(|audience| audience == AUDIENCE) {
        return None;
    }
    let user = status.user?;
    let extra = user.extra?;
    let username = user.username?;
    let (namespace, service_account) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(TokenHolder {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: extra.get(POD_NAME)?.first()?.clone(),
        pod_uid: extra.get(POD_UID)?.first()?.clone(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::{rand::SystemRandom, signature::KeyPair as _};
    use rcgen::KeyPair;
    use serde_json::json;

    use super::*;

    /// What the holder of `key` sends for `token`, with another token put in its place.
    pub(crate) fn signed_by(key: &KeyPair, token: &str, presented: &str) -> Enrol {
        let signer = signature::EcdsaKeyPair::from_pkcs8(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            &key.serialize_der(),
        )
        .unwrap();
        assert!(!signer.public_key().as_ref().is_empty());
        let public_key = rcgen::PublicKeyData::subject_public_key_info(key);
        let proof =
            signer.sign(&SystemRandom::new(), &wire::enrolment_statement(token, &public_key)).unwrap();
        Enrol {
            version: wire::WIRE_VERSION,
            token: presented.to_owned(),
            public_key: wire::base64_text(&public_key),
            proof: wire::base64_text(proof.as_ref()),
        }
    }

    fn signed(token: &str, presented: &str) -> Enrol {
        signed_by(&KeyPair::generate().unwrap(), token, presented)
    }

    #[test]
    fn a_key_is_only_its_holders() {
        assert!(prove_possession(&signed("kl-test-token", "kl-test-token")).is_ok());
        assert!(prove_possession(&signed("kl-test-token", "kl-test-other")).is_err());
        let mut swapped = signed("kl-test-token", "kl-test-token");
        swapped.public_key = signed("kl-test-token", "kl-test-token").public_key;
        assert!(prove_possession(&swapped).is_err());
        for bad in ["", "AAAA", "not base64"] {
            let mut malformed = signed("kl-test-token", "kl-test-token");
            malformed.public_key = bad.to_owned();
            assert!(prove_possession(&malformed).is_err());
        }
    }

    #[test]
    fn a_token_must_be_of_our_audience_and_of_a_pod() {
        let review = |status: serde_json::Value| {
            holder(serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).unwrap())
        };
        let extra = json!({POD_NAME: ["checkout-0"], POD_UID: ["u"]});
        let user = json!({"username": "system:serviceaccount:partner:checkout", "extra": extra});
        let good = json!({"authenticated": true, "audiences": [AUDIENCE], "user": user});
        let found = review(good.clone()).unwrap();
        assert_eq!((found.namespace.as_str(), found.service_account.as_str()), ("partner", "checkout"));
        for (pointer, value) in [
            ("/authenticated", json!(false)),
            ("/audiences", json!([])),
            ("/audiences", json!(["https://kubernetes.default.svc"])),
            ("/user/username", json!("admin")),
            ("/user/extra", json!({})),
            ("/user/extra", json!({POD_NAME: ["checkout-0"]})),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(review(bad).is_none(), "{pointer}");
        }
    }
}
