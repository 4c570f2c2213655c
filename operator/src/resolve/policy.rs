//! A share's use policy, parsed when it is needed: the text in the resource becomes the types that permit or refuse.
//!
//! What cannot be read permits nothing: to a recipient an invalid field is a refusal like any other, and only the
//! owner's share says what is wrong with it. Never add a default that permits more than the owner wrote.

use jiff::Timestamp;
use keylend_contract::{
    address::{Networks, NetworksError},
    domain_lock::{DomainLock, LockError},
    place::{HeaderPlace, HeaderPlaceError, Places},
    refusal::Refusal,
    upstream::{HTTPS_PORT, Ports, PortsError, Upstream},
    wire::Anchors,
};
use keylend_crds::{
    SecretShareSpec,
    secret_share::{Inject, UsePolicy},
};
use rustls::{
    RootCertStore,
    pki_types::pem::{PemObject, SectionKind},
};

/// Where a value may go, and in which place of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(super) lock: DomainLock,
    pub(super) ports: Ports,
    pub(super) networks: Networks,
    pub(super) anchors: Anchors,
    places: Places,
}

/// Why a share's text is no policy; each names its field and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The hosts.
    #[error("spec.use.domains: {0}")]
    Domains(LockError),
    /// The ports.
    #[error("spec.use.ports: {0}")]
    Ports(#[from] PortsError),
    /// The networks.
    #[error("spec.use.networks: {0}")]
    Networks(NetworksError),
    /// The trust anchors.
    #[error("spec.use.caBundle: write one or more CA certificates as PEM, and nothing else")]
    CaBundle,
    /// The places.
    #[error("spec.use.inject.headers: {0}")]
    Headers(HeaderPlaceError),
    /// The end.
    #[error("spec.expiresAt: write a time such as 2027-01-01T00:00:00Z")]
    ExpiresAt,
}

impl Policy {
    /// Parses every field of `text`.
    ///
    /// # Errors
    /// [`PolicyError`] for the first field that is not valid.
    pub fn parse(text: &UsePolicy) -> Result<Self, PolicyError> {
        Ok(Self {
            lock: DomainLock::parse(&text.domains).map_err(PolicyError::Domains)?,
            ports: ports(text.ports.as_deref())?,
            networks: Networks::parse(text.networks.as_deref().unwrap_or_default())
                .map_err(PolicyError::Networks)?,
            anchors: anchors(text.ca_bundle.as_deref())?,
            places: places(&text.inject)?,
        })
    }

    /// Decides whether a value may be sent to `destination` in each of `headers`.
    ///
    /// # Errors
    /// The refusal for what the owner did not list: the host first, then the port, then the place.
    pub fn permit<'a>(
        &self,
        destination: &Upstream,
        headers: impl Iterator<Item = &'a HeaderPlace>,
    ) -> Result<(), Refusal> {
        self.lock.permit(destination.host())?;
        self.ports.permit(destination.port())?;
        for header in headers {
            self.places.permit(header)?;
        }
        Ok(())
    }
}

impl PolicyError {
    /// What a recipient is told: that the owner did not approve, which is so as long as nobody can read what was meant.
    #[must_use]
    pub fn refusal(&self, destination: &Upstream, secret: &str) -> Refusal {
        let host = destination.host().to_string();
        match self {
            Self::Domains(_) => Refusal::HostNotApproved { host },
            Self::Ports(_) => Refusal::PortNotApproved { port: destination.port() },
            Self::Networks(_) => Refusal::AddressNotApproved { host },
            Self::CaBundle => Refusal::UpstreamUntrusted { host },
            Self::Headers(_) => Refusal::PlaceNotApproved { place: "header".into() },
            Self::ExpiresAt => Refusal::ShareExpired { secret: secret.to_owned() },
        }
    }
}

/// When the share ends by itself, if it does.
///
/// # Errors
/// [`PolicyError::ExpiresAt`].
pub fn expiry(spec: &SecretShareSpec) -> Result<Option<Timestamp>, PolicyError> {
    spec.expires_at.as_deref().map(|text| text.parse().map_err(|_| PolicyError::ExpiresAt)).transpose()
}

fn ports(text: Option<&[i32]>) -> Result<Ports, PolicyError> {
    let Some(numbers) = text else { return Ok(Ports::try_from(vec![HTTPS_PORT])?) };
    let numbers = numbers.iter().map(|number| u16::try_from(*number).map_err(|_| PortsError::OutOfBounds));
    Ok(Ports::try_from(numbers.collect::<Result<Vec<_>, _>>()?)?)
}

/// Takes only what the sidecar's TLS will take as well; a private key pasted beside a certificate is not passed on.
fn anchors(text: Option<&str>) -> Result<Anchors, PolicyError> {
    let Some(pem) = text else { return Ok(Anchors::Public) };
    let mut store = RootCertStore::empty();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        let Ok((SectionKind::Certificate, der)) = section else { return Err(PolicyError::CaBundle) };
        store.add(der.into()).map_err(|_| PolicyError::CaBundle)?;
    }
    if store.is_empty() { Err(PolicyError::CaBundle) } else { Ok(Anchors::Pem(pem.to_owned())) }
}

fn places(text: &Inject) -> Result<Places, PolicyError> {
    let headers = text.headers.iter().map(|name| name.parse().map_err(PolicyError::Headers));
    Ok(Places::headers(headers.collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> UsePolicy {
        UsePolicy {
            domains: vec!["api.example.com".into()],
            ports: None,
            networks: None,
            ca_bundle: None,
            inject: Inject { headers: vec!["Authorization".into()] },
        }
    }

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(["ca.example.com".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn what_is_left_out_permits_the_least() {
        let policy = Policy::parse(&text()).unwrap();
        assert_eq!(policy.ports, Ports::try_from(vec![443]).unwrap());
        assert_eq!(policy.networks, Networks::parse::<&str>(&[]).unwrap());
        assert_eq!(policy.anchors, Anchors::Public);
    }

    #[test]
    fn an_invalid_field_is_named_to_the_owner_and_permits_the_recipient_nothing() {
        type Change = fn(&mut UsePolicy);
        // (change, what the owner reads first, what the recipient reads)
        let table: [(Change, &str, &str); 9] = [
            (|p| p.domains = vec![], "spec.use.domains: ", "host_not_approved"),
            (|p| p.domains.push("*.com".into()), "spec.use.domains: '*.com': ", "host_not_approved"),
            (|p| p.ports = Some(vec![]), "spec.use.ports: ", "port_not_approved"),
            (|p| p.ports = Some(vec![443, 70_000]), "spec.use.ports: ", "port_not_approved"),
            (|p| p.networks = Some(vec!["10.0.0.1/8".into()]), "spec.use.networks: ", "address_not_approved"),
            (|p| p.ca_bundle = Some(String::new()), "spec.use.caBundle: ", "upstream_untrusted"),
            (|p| p.ca_bundle = Some("kl-test".into()), "spec.use.caBundle: ", "upstream_untrusted"),
            (|p| p.inject.headers = vec!["host".into()], "spec.use.inject.headers: ", "place_not_approved"),
            (|p| p.inject.headers.push("a b".into()), "spec.use.inject.headers: ", "place_not_approved"),
        ];
        let destination = "https://api.example.com".parse().unwrap();
        for (change, owner, recipient) in table {
            let mut text = text();
            change(&mut text);
            let error = Policy::parse(&text).unwrap_err();
            assert!(error.to_string().starts_with(owner), "{error}");
            assert_eq!(error.refusal(&destination, "a").code(), recipient, "{error}");
        }
    }

    #[test]
    fn trust_anchors_are_certificates_and_nothing_else() {
        let one = certificate();
        let two = format!("a comment\n{one}{}", certificate());
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        // (bundle, taken)
        let table = [
            (one.clone(), true),
            (two, true),
            (format!("{one}{key}"), false),
            (one.replace("MI", "II"), false),
            (one[..one.len() / 2].to_owned(), false),
        ];
        for (bundle, taken) in table {
            let policy = Policy::parse(&UsePolicy { ca_bundle: Some(bundle.clone()), ..text() });
            assert_eq!(policy.is_ok(), taken, "{bundle}");
        }
    }

    #[test]
    fn host_port_and_place_are_each_checked() {
        let policy = Policy::parse(&UsePolicy { ports: Some(vec![8443]), ..text() }).unwrap();
        // (destination, header, refusal)
        let table = [
            ("https://api.example.com:8443", "authorization", None),
            ("https://evil.example.com:8443", "authorization", Some("host_not_approved")),
            ("https://api.example.com", "authorization", Some("port_not_approved")),
            ("https://api.example.com:8443", "x-api-key", Some("place_not_approved")),
        ];
        for (destination, header, refused) in table {
            let header: HeaderPlace = header.parse().unwrap();
            let permitted = policy.permit(&destination.parse().unwrap(), [&header].into_iter());
            assert_eq!(permitted.err().map(|refusal| refusal.code()), refused, "{destination} {header}");
        }
    }

    #[test]
    fn an_end_that_cannot_be_read_is_an_end() {
        let spec = |text: Option<&str>| SecretShareSpec {
            secret_ref: keylend_crds::secret_share::SecretReference { name: "a".into() },
            environment: "production".into(),
            access: None,
            recipient: keylend_crds::secret_share::Recipient {
                namespace: keylend_crds::secret_share::NamespaceRecipient {
                    name: "partner".into(),
                    uid: None,
                    service_accounts: None,
                },
            },
            use_policy: self::text(),
            expires_at: text.map(Into::into),
            revoked: None,
        };
        assert_eq!(expiry(&spec(None)), Ok(None));
        assert!(expiry(&spec(Some("2027-01-01T00:00:00+02:00"))).unwrap().is_some());
        assert_eq!(expiry(&spec(Some("tomorrow"))), Err(PolicyError::ExpiresAt));
    }
}
