//! TLS to upstreams: who may vouch for a name, and the proof of it.
//!
//! Promises: TLS 1.2 or 1.3, the certificate verified by rustls' own verifier for the very name that was approved; no
//! early data; sessions are resumed only under the key they were made for. Where several owners hold one call, only
//! authorities that all of them trust may vouch. Never add another verifier.

use std::{io, sync::Arc, time::Duration};

use keylend_contract::{refusal::Refusal, wire::Anchors};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{destination::Destination, unreachable, wiping::Wiping};
use crate::fault::{Failure, Fault};

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Without a protocol offered, a peer for another protocol could be talked to (ALPACA).
const PROTOCOL: &[u8] = b"http/1.1";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
/// One destination a key, so one name a store.
const NAMES_A_KEY: usize = 1;

/// What a set of connections shares: anchors and resumable sessions.
pub(super) type Sessions = Arc<ClientConfig>;

/// Makes [`Sessions`].
pub(super) struct Anchored {
    provider: Arc<CryptoProvider>,
    public: Arc<RootCertStore>,
}

impl Anchored {
    pub(super) fn new() -> Result<Self, Fault> {
        let public = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let made = Self { provider: Arc::new(aws_lc_rs::default_provider()), public: Arc::new(public) };
        made.trusting(Arc::clone(&made.public))?;
        Ok(made)
    }

    /// Fresh sessions for `destination`, by the anchors that all of its permits share.
    ///
    /// # Errors
    /// [`Refusal::UpstreamUntrusted`] when no authority is left.
    pub(super) fn sessions(&self, destination: &Destination<'_>) -> Result<Sessions, Failure> {
        let shared = self.shared(destination.anchors()).ok_or_else(|| untrusted(destination))?;
        Ok(self.trusting(shared)?)
    }

    /// The authorities that are among all of `anchors`, if any is.
    fn shared<'a>(&self, anchors: impl Iterator<Item = &'a Anchors>) -> Option<Arc<RootCertStore>> {
        let stores = anchors.map(|anchors| self.store(anchors));
        stores.reduce(|one, other| both(one, &other)).filter(|store| !store.is_empty())
    }

    /// The authorities of `anchors`; one that cannot be read is none.
    fn store(&self, anchors: &Anchors) -> Arc<RootCertStore> {
        match anchors {
            Anchors::Public => Arc::clone(&self.public),
            Anchors::Pem(text) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(CertificateDer::pem_slice_iter(text.as_bytes()).flatten());
                Arc::new(store)
            }
        }
    }

    fn trusting(&self, store: Arc<RootCertStore>) -> Result<Sessions, Fault> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| Fault::new("setting up TLS", error))?;
        let mut config = builder.with_root_certificates(store).with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::in_memory_sessions(NAMES_A_KEY);
        config.enable_early_data = false;
        Ok(Arc::new(config))
    }
}

/// The authorities that are in both.
fn both(one: Arc<RootCertStore>, other: &Arc<RootCertStore>) -> Arc<RootCertStore> {
    if one.roots == other.roots {
        return one;
    }
    let roots = one.roots.iter().filter(|anchor| other.roots.contains(anchor)).cloned().collect();
    Arc::new(RootCertStore { roots })
}

/// Lets the peer prove the name of `destination`.
///
/// # Errors
/// [`Refusal::UpstreamUntrusted`] when its certificate does not; [`Refusal::UpstreamUnreachable`] otherwise.
pub(super) async fn prove(
    destination: &Destination<'_>,
    sessions: Sessions,
    stream: TcpStream,
) -> Result<TlsStream<Wiping>, Refusal> {
    let name = ServerName::try_from(destination.host().as_str().to_owned());
    let name = name.map_err(|_| untrusted(destination))?;
    match timeout(HANDSHAKE_TIME, TlsConnector::from(sessions).connect(name, Wiping::new(stream))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_about_trust(&error) => Err(untrusted(destination)),
        Ok(Err(_)) | Err(_) => Err(unreachable(destination)),
    }
}

fn untrusted(destination: &Destination<'_>) -> Refusal {
    Refusal::UpstreamUntrusted { host: destination.host().to_string() }
}

fn is_about_trust(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn authority() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn only_authorities_that_every_owner_trusts_may_vouch() {
        let anchored = Anchored::new().unwrap();
        let (one, two) = (authority(), authority());
        let pem = |text: &str| Anchors::Pem(text.to_owned());
        for (anchors, left) in [
            (vec![pem(&one)], 1),
            (vec![pem(&[&*one, &two].concat()), pem(&two)], 1),
            (vec![pem(&[&*one, "\n# a comment\n", &two].concat()), pem(&[&*two, &one].concat())], 2),
            (vec![pem(&one), pem(&two)], 0),
            (vec![pem(&one), Anchors::Public], 0),
            (vec![pem("not a certificate")], 0),
            (vec![Anchors::Public, Anchors::Public], webpki_roots::TLS_SERVER_ROOTS.len()),
        ] {
            assert_eq!(anchored.shared(anchors.iter()).map_or(0, |store| store.len()), left);
        }
    }
}
