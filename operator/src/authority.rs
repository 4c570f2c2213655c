//! Our own certificate authority: who serves as the operator, and which sidecar is which container.
//!
//! One core Secret is the truth; whichever replica starts first creates it, all others read it. Each replica mints its
//! own short-lived serving certificate in memory, so no leaf key rests anywhere. Sidecars are pinned to a *list* of
//! roots, which lets a later root stand beside the present one.

use std::{
    sync::{Arc, RwLock},
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, api::core::v1::Secret as CoreSecret};
use kube::{Api, Client, api::PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SubjectPublicKeyInfo,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{fault::Fault, resolve::caller::CallerClaims};

/// The core Secret that holds the authority.
pub const AUTHORITY_SECRET: &str = "keylend-authority";
/// How long an enrolled container's certificate is valid.
pub const CLIENT_CERTIFICATE_LIFE: Duration = Duration::from_hours(1);
/// How long a serving certificate is valid; each replica renews its own at half life.
pub const SERVING_CERTIFICATE_LIFE: Duration = Duration::from_hours(7 * 24);

const ROOT_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// Clocks of nodes differ a little.
const CLOCK_SKEW: Duration = Duration::from_mins(5);
const ROOTS: &str = "roots.pem";
const SIGNING_CERTIFICATE: &str = "tls.crt";
const SIGNING_KEY: &str = "tls.key";

/// The authority as one replica holds it.
pub struct Authority {
    roots_pem: String,
    roots: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
}

/// A serving certificate that is replaced under running listeners.
pub struct Serving {
    names: Vec<String>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Authority {
    /// Reads the authority, creating it first if there is none: two starters agree, because creation is once.
    ///
    /// # Errors
    /// [`Fault`] if the API server does not answer or what it holds is not an authority.
    pub async fn load_or_create(client: &Client, namespace: &str) -> Result<Self, Fault> {
        const DOING: &str = "loading the certificate authority";
        let secrets: Api<CoreSecret> = Api::namespaced(client.clone(), namespace);
        if let Some(secret) = secrets.get_opt(AUTHORITY_SECRET).await.map_err(|e| Fault::new(DOING, e))? {
            return Self::read(&secret);
        }
        let fresh = fresh_secret().map_err(|e| Fault::new("making a certificate authority", e))?;
        match secrets.create(&PostParams::default(), &fresh).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(Fault::new("storing the certificate authority", error)),
        }
        Self::read(&secrets.get(AUTHORITY_SECRET).await.map_err(|e| Fault::new(DOING, e))?)
    }

    fn read(secret: &CoreSecret) -> Result<Self, Fault> {
        const DOING: &str = "reading the certificate authority";
        let text = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(key));
            let bytes = bytes.ok_or_else(|| Fault::new(DOING, format!("the key {key} is missing")))?;
            String::from_utf8(bytes.0.clone()).map_err(|e| Fault::new(DOING, e.utf8_error()))
        };
        let roots_pem = text(ROOTS)?;
        let roots = CertificateDer::pem_slice_iter(roots_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| Fault::new(DOING, e))?;
        let key = KeyPair::from_pem(&text(SIGNING_KEY)?).map_err(|e| Fault::new(DOING, e))?;
        let issuer =
            Issuer::from_ca_cert_pem(&text(SIGNING_CERTIFICATE)?, key).map_err(|e| Fault::new(DOING, e))?;
        Ok(Self { roots_pem, roots, issuer })
    }

    /// The roots that sidecars and the API server are pinned to, as PEM.
    #[must_use]
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// Signs `public_key` for the container that `claims` names; valid for [`CLIENT_CERTIFICATE_LIFE`].
    ///
    /// # Errors
    /// [`Fault`] if the key is not one a certificate can carry.
    pub fn client_certificate(&self, claims: &CallerClaims, public_key: &[u8]) -> Result<Vec<u8>, Fault> {
        const DOING: &str = "signing a sidecar's certificate";
        let public_key = SubjectPublicKeyInfo::from_der(public_key).map_err(|e| Fault::new(DOING, e))?;
        let mut params = leaf(CLIENT_CERTIFICATE_LIFE, ExtendedKeyUsagePurpose::ClientAuth);
        let uri = claims.to_uri().try_into().map_err(|e| Fault::new(DOING, e))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let certificate = params.signed_by(&public_key, &self.issuer).map_err(|e| Fault::new(DOING, e))?;
        Ok(certificate.der().to_vec())
    }

    /// Mints a serving certificate for `names`, with a key that never leaves this process.
    ///
    /// # Errors
    /// [`Fault`] if a name is not one a certificate can carry.
    pub fn serving(&self, names: &[String]) -> Result<Arc<Serving>, Fault> {
        let current = RwLock::new(Arc::new(self.mint(names)?));
        Ok(Arc::new(Serving { names: names.to_vec(), current }))
    }

    /// Replaces the certificate of `serving` by a fresh one.
    ///
    /// # Errors
    /// As [`Self::serving`]; the old certificate stays.
    pub fn renew(&self, serving: &Serving) -> Result<(), Fault> {
        let fresh = Arc::new(self.mint(&serving.names)?);
        *serving.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn mint(&self, names: &[String]) -> Result<CertifiedKey, Fault> {
        const DOING: &str = "minting a serving certificate";
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| Fault::new(DOING, e))?;
        let mut params = leaf(SERVING_CERTIFICATE_LIFE, ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            let name = name.clone().try_into().map_err(|e| Fault::new(DOING, e))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let certificate = params.signed_by(&key, &self.issuer).map_err(|e| Fault::new(DOING, e))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| Fault::new(DOING, e))?;
        let signer = aws_lc_rs::sign::any_supported_type(&key).map_err(|e| Fault::new(DOING, e))?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }

    /// TLS for sidecars: HTTP/2 only; a client certificate of ours is taken, and needed for everything but enrolment.
    ///
    /// # Errors
    /// [`Fault`] if the roots cannot anchor a verification.
    pub fn sidecar_server_config(&self, serving: &Arc<Serving>) -> Result<ServerConfig, Fault> {
        const DOING: &str = "configuring TLS for sidecars";
        let mut roots = RootCertStore::empty();
        for root in &self.roots {
            roots.add(root.clone()).map_err(|e| Fault::new(DOING, e))?;
        }
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
            .allow_unauthenticated()
            .build()
            .map_err(|e| Fault::new(DOING, e))?;
        let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(serving.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    /// TLS for the API server's webhook calls.
    #[must_use]
    pub fn webhook_server_config(&self, serving: &Arc<Serving>) -> ServerConfig {
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(serving.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Serving").field("names", &self.names).finish_non_exhaustive()
    }
}

fn leaf(life: Duration, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + life).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    params
}

fn fresh_secret() -> Result<CoreSecret, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + ROOT_LIFE).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Keylend operator");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key)?;
    let data = [(ROOTS, root.pem()), (SIGNING_CERTIFICATE, root.pem()), (SIGNING_KEY, key.serialize_pem())];
    let mut secret = CoreSecret { type_: Some("keylend.dev/authority".to_owned()), ..CoreSecret::default() };
    secret.metadata.name = Some(AUTHORITY_SECRET.to_owned());
    secret.data =
        Some(data.into_iter().map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).collect());
    Ok(secret)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An authority that rests nowhere.
    pub(crate) fn authority() -> Authority {
        Authority::read(&fresh_secret().unwrap()).unwrap()
    }

    #[test]
    fn what_two_starters_read_is_one_authority() {
        let secret = fresh_secret().unwrap();
        let (first, second) = (Authority::read(&secret).unwrap(), Authority::read(&secret).unwrap());
        assert_eq!(first.roots_pem(), second.roots_pem());
        let serving = first.serving(&["operator.keylend.internal".into()]).unwrap();
        assert!(second.sidecar_server_config(&serving).is_ok());
    }

    #[test]
    fn a_renewed_certificate_is_another_one() {
        let authority = authority();
        let serving = authority.serving(&["operator.keylend.internal".into()]).unwrap();
        let before = serving.current.read().unwrap().cert[0].clone();
        authority.renew(&serving).unwrap();
        assert_ne!(before, serving.current.read().unwrap().cert[0]);
    }

    #[test]
    fn a_secret_without_its_keys_is_no_authority() {
        for missing in [ROOTS, SIGNING_CERTIFICATE, SIGNING_KEY] {
            let mut secret = fresh_secret().unwrap();
            secret.data.as_mut().unwrap().remove(missing);
            assert!(Authority::read(&secret).is_err(), "{missing}");
        }
    }
}
