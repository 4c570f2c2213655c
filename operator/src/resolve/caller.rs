//! Who is calling: the container a verified certificate names. The only maker of [`Caller`].

use rustls_pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, prelude::FromDer};

const SCHEME: &str = "keylend://container/";
const PARTS: usize = 6;

/// What enrolment found out about a container, and what its certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallerClaims {
    /// The pod's namespace.
    pub namespace: String,
    /// The namespace's UID.
    pub namespace_uid: String,
    /// The pod.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The pod's service account.
    pub service_account: String,
    /// The container's ID, as the pod's status gave it.
    pub container_id: String,
}

/// The authenticated container asking now.
///
/// ```compile_fail
/// use keylend_operator::resolve::caller::{Caller, CallerClaims};
/// fn forged(claims: CallerClaims) -> Caller { Caller(claims) }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller(CallerClaims);

/// Why a certificate names no caller.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallerError {
    /// Not a certificate.
    #[error("reading a client certificate: it is malformed")]
    Malformed,
    /// Without exactly one name of ours.
    #[error("reading a client certificate: it names no container")]
    Nameless,
}

impl CallerClaims {
    /// The name in the certificate: `keylend://container/` and the six parts. None of them can hold a slash but the
    /// container ID (`containerd://...`), which is why that stands last.
    #[must_use]
    pub fn to_uri(&self) -> String {
        let Self { namespace, namespace_uid, pod, pod_uid, service_account, container_id } = self;
        format!("{SCHEME}{namespace}/{namespace_uid}/{pod}/{pod_uid}/{service_account}/{container_id}")
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let parts: Vec<&str> = uri.strip_prefix(SCHEME)?.splitn(PARTS, '/').collect();
        let [namespace, namespace_uid, pod, pod_uid, service_account, container_id] = parts[..] else {
            return None;
        };
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(Self {
            namespace: namespace.to_owned(),
            namespace_uid: namespace_uid.to_owned(),
            pod: pod.to_owned(),
            pod_uid: pod_uid.to_owned(),
            service_account: service_account.to_owned(),
            container_id: container_id.to_owned(),
        })
    }
}

impl Caller {
    /// Reads the caller out of a certificate that TLS has verified against our own authority.
    ///
    /// # Errors
    /// [`CallerError`] if it names no container.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, CallerError> {
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate)
            .map_err(|_| CallerError::Malformed)?;
        let names = parsed.subject_alternative_name().map_err(|_| CallerError::Malformed)?;
        let names = names.map(|extension| &extension.value.general_names[..]).unwrap_or_default();
        let [GeneralName::URI(uri)] = names else {
            return Err(CallerError::Nameless);
        };
        CallerClaims::from_uri(uri).map(Self).ok_or(CallerError::Nameless)
    }

    /// What enrolment found out, and the certificate says.
    #[must_use]
    pub fn claims(&self) -> &CallerClaims {
        &self.0
    }

    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The namespace's UID at enrolment.
    #[must_use]
    pub fn namespace_uid(&self) -> &str {
        &self.0.namespace_uid
    }

    /// The pod's name.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.0.pod
    }

    /// The pod's UID.
    #[must_use]
    pub fn pod_uid(&self) -> &str {
        &self.0.pod_uid
    }

    /// The pod's service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.0.service_account
    }

    /// The container's ID.
    #[must_use]
    pub fn container_id(&self) -> &str {
        &self.0.container_id
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{KeyPair, PublicKeyData};

    use super::*;
    use crate::authority::tests::authority;

    pub(crate) fn claims() -> CallerClaims {
        CallerClaims {
            namespace: "partner".into(),
            namespace_uid: "11111111-1111-1111-1111-111111111111".into(),
            pod: "checkout-0".into(),
            pod_uid: "22222222-2222-2222-2222-222222222222".into(),
            service_account: "checkout".into(),
            container_id: "containerd://0123abcd".into(),
        }
    }

    /// The caller that `claims` describe, by way of a real certificate.
    pub(crate) fn caller(claims: &CallerClaims) -> Caller {
        let key = KeyPair::generate().unwrap();
        let certificate = authority().client_certificate(claims, &key.subject_public_key_info()).unwrap();
        Caller::from_certificate(&CertificateDer::from(certificate)).unwrap()
    }

    #[test]
    fn a_certificate_names_the_container_it_was_signed_for() {
        assert_eq!(caller(&claims()).0, claims());
    }

    #[test]
    fn a_certificate_without_our_name_is_no_caller() {
        let key = KeyPair::generate().unwrap();
        for names in [vec![], vec!["operator.keylend.internal".to_owned()]] {
            let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            assert_eq!(Caller::from_certificate(certificate.der()), Err(CallerError::Nameless));
        }
        assert_eq!(Caller::from_certificate(&CertificateDer::from(vec![1, 2])), Err(CallerError::Malformed));
    }

    #[test]
    fn every_part_must_be_there() {
        for uri in
            ["", "keylend://container/", "keylend://container/a/b/c/d/e", "keylend://container/a//c/d/e/f"]
        {
            assert_eq!(CallerClaims::from_uri(uri), None, "{uri}");
        }
    }
}
