//! The container's key and certificate: which sidecar we are.
//!
//! The key is made in memory when the process starts and never leaves it; the projected token only binds it to this
//! container. The certificate names the container and is renewed by the same key. Neither is ever written anywhere.

pub mod enrolment;

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use keylend_contract::{
    refusal::Refusal,
    wire::{self, Enrol, WIRE_VERSION},
};
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::fault::Fault;

/// This container's key, and what the operator made of it.
pub struct Identity {
    key: Arc<dyn SigningKey>,
    public_key: Vec<u8>,
    standing: watch::Sender<Standing>,
    doubts: Notify,
}

/// Whether the operator knows us.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Not now, and why.
    Waiting(Refusal),
    /// By this certificate, until then.
    Enrolled { certificate: Arc<CertifiedKey>, end: Instant },
}

impl Standing {
    pub(crate) fn is_enrolled(&self) -> bool {
        matches!(self, Self::Enrolled { .. })
    }

    /// The standing after a refusal met at `now`: a certificate that is still valid stays good.
    fn after(&self, refusal: Refusal, now: Instant) -> Self {
        match self {
            Self::Enrolled { end, .. } if now < *end => self.clone(),
            Self::Enrolled { .. } | Self::Waiting(_) => Self::Waiting(refusal),
        }
    }
}

impl Identity {
    /// Makes a fresh key, known to nobody yet.
    ///
    /// # Errors
    /// [`Fault`] if the random generator or the key does not work.
    pub fn generate() -> Result<Self, Fault> {
        const DOING: &str = "making the container's key";
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|error| Fault::new(DOING, error))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_ref()));
        let key = any_ecdsa_type(&key).map_err(|error| Fault::new(DOING, error))?;
        let public_key = key.public_key().ok_or_else(|| Fault::new(DOING, "it has no public half"))?.to_vec();
        let standing = watch::Sender::new(Standing::Waiting(Refusal::EnrolmentPending));
        Ok(Self { key, public_key, standing, doubts: Notify::new() })
    }

    /// Decides whether we are known to the operator now.
    ///
    /// # Errors
    /// The refusal that enrolment last met.
    pub fn enrolled(&self) -> Result<(), Refusal> {
        match &*self.standing.borrow() {
            Standing::Enrolled { .. } => Ok(()),
            Standing::Waiting(refusal) => Err(refusal.clone()),
        }
    }

    /// Has the certificate renewed soon, because the operator did not accept it.
    pub(crate) fn doubt(&self) {
        self.doubts.notify_one();
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Binds `token` to our key.
    fn enrol(&self, token: &str) -> Result<Enrol, Fault> {
        const DOING: &str = "signing the enrolment";
        let signer = self.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signer = signer.ok_or_else(|| Fault::new(DOING, "the key has another kind"))?;
        let statement = zeroize::Zeroizing::new(wire::enrolment_statement(token, &self.public_key));
        let proof = signer.sign(&statement).map_err(|error| Fault::new(DOING, error))?;
        Ok(Enrol {
            version: WIRE_VERSION,
            token: token.to_owned(),
            public_key: wire::base64_text(&self.public_key),
            proof: wire::base64_text(&proof),
        })
    }

    /// Takes in the certificate `chain`, leaf first, valid until `end`.
    fn accept(&self, chain: Vec<CertificateDer<'static>>, end: Instant) -> Result<(), Fault> {
        const DOING: &str = "taking in the certificate";
        let certificate = CertifiedKey::new(chain, self.key.clone());
        certificate.keys_match().map_err(|error| Fault::new(DOING, error))?;
        self.standing.send_replace(Standing::Enrolled { certificate: Arc::new(certificate), end });
        Ok(())
    }

    fn refused(&self, refusal: Refusal) {
        self.standing.send_if_modified(|standing| {
            let was_enrolled = standing.is_enrolled();
            *standing = standing.after(refusal, Instant::now());
            was_enrolled && !standing.is_enrolled()
        });
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match &*self.standing.borrow() {
            Standing::Enrolled { certificate, .. } => Some(certificate.clone()),
            Standing::Waiting(_) => None,
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The key is left out.
impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("standing", &*self.standing.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};

    use super::*;

    /// A chain for `public_key` by an authority of its own.
    fn chain(public_key: &[u8]) -> Vec<CertificateDer<'static>> {
        let authority =
            rcgen::Issuer::new(rcgen::CertificateParams::default(), rcgen::KeyPair::generate().unwrap());
        let public_key = rcgen::SubjectPublicKeyInfo::from_der(public_key).unwrap();
        let leaf = rcgen::CertificateParams::default().signed_by(&public_key, &authority).unwrap();
        vec![leaf.der().clone()]
    }

    #[test]
    fn the_proof_binds_the_token_to_the_key() {
        let identity = Identity::generate().unwrap();
        let enrol = identity.enrol("kl-test-token").unwrap();
        let public_key = wire::base64_bytes(&enrol.public_key).unwrap();
        let verifies = |token: &str| {
            let statement = wire::enrolment_statement(token, &public_key);
            let proof = wire::base64_bytes(&enrol.proof).unwrap();
            let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public_key).unwrap();
            key.verify_sig(&statement, &proof).is_ok()
        };
        assert!(verifies("kl-test-token"));
        assert!(!verifies("kl-test-other"));
        assert_ne!(Identity::generate().unwrap().public_key, identity.public_key);
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_for_another_key_is_not_taken_in() {
        let identity = Identity::generate().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        let other = chain(&Identity::generate().unwrap().public_key);
        assert!(identity.accept(other, end).is_err());
        assert!(identity.accept(vec![], end).is_err());
        assert_eq!(identity.enrolled(), Err(Refusal::EnrolmentPending));
        assert!(identity.resolve(&[], &[]).is_none());
        identity.accept(chain(&identity.public_key), end).unwrap();
        assert_eq!(identity.enrolled(), Ok(()));
        assert!(identity.resolve(&[], &[]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_the_standing_only_when_the_certificate_is_over() {
        let identity = Identity::generate().unwrap();
        identity.refused(Refusal::PoliciesMissing);
        assert_eq!(identity.enrolled(), Err(Refusal::PoliciesMissing));
        identity.accept(chain(&identity.public_key), Instant::now() + Duration::from_secs(10)).unwrap();
        identity.refused(Refusal::PoliciesMissing);
        assert_eq!(identity.enrolled(), Ok(()));
        tokio::time::advance(Duration::from_secs(10)).await;
        identity.refused(Refusal::OperatorUnreachable);
        assert_eq!(identity.enrolled(), Err(Refusal::OperatorUnreachable));
    }
}
