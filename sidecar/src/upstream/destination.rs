//! Where a call goes, as every share that holds it permits. Pure.
//!
//! Promise: a [`Destination`] exists only where each permit of the grant approves host and port; its addresses are
//! approved by each permit, or there are none.

use std::{
    hash::Hash,
    net::{IpAddr, SocketAddr},
};

use keylend_contract::{
    host::Host,
    refusal::Refusal,
    upstream::Upstream,
    wire::{Anchors, Granted, Permit},
};

/// Proof that every permit of a grant approved its host and port again.
pub struct Destination<'a> {
    upstream: &'a Upstream,
    permits: &'a [Permit],
}

/// Proof that every permit approved every address, in the order they are to be dialled.
pub(super) struct Addresses(Vec<SocketAddr>);

/// What parts one set of connections from all others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    route: String,
    /// UID and generation of each share, in order.
    shares: Vec<(String, i64)>,
    upstream: Upstream,
    anchors: Vec<Anchors>,
}

impl<'a> Destination<'a> {
    /// Asks every permit of `granted` again.
    ///
    /// # Errors
    /// The refusal of the first permit that does not approve; a grant without any permit approves nothing.
    pub fn permitted(granted: &'a Granted) -> Result<Self, Refusal> {
        let Granted { destination, permits, .. } = granted;
        if permits.is_empty() {
            return Err(Refusal::HostNotApproved { host: destination.host().to_string() });
        }
        for permit in permits {
            permit.lock.permit(destination.host())?;
            permit.ports.permit(destination.port())?;
        }
        Ok(Self { upstream: destination, permits })
    }

    /// The name that is resolved, dialled and verified.
    #[must_use]
    pub fn host(&self) -> &Host {
        self.upstream.host()
    }

    /// The origin.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        self.upstream
    }

    /// The anchors of each permit.
    pub(super) fn anchors(&self) -> impl Iterator<Item = &'a Anchors> {
        self.permits.iter().map(|permit| &permit.anchors)
    }

    /// Asks every permit about what the name resolved to.
    ///
    /// # Errors
    /// [`Refusal::AddressNotApproved`].
    pub(super) fn approve(&self, answers: &[IpAddr]) -> Result<Addresses, Refusal> {
        for permit in self.permits {
            permit.networks.permit(self.host().as_str(), answers)?;
        }
        Ok(Addresses(answers.iter().map(|address| SocketAddr::new(*address, self.upstream.port())).collect()))
    }

    /// For the calls of `route`.
    pub(super) fn key(&self, route: &str) -> Key {
        let mut shares: Vec<_> =
            self.permits.iter().map(|permit| (permit.share.clone(), permit.generation)).collect();
        shares.sort_unstable();
        let anchors = self.anchors().cloned().collect();
        Key { route: route.to_owned(), shares, upstream: self.upstream.clone(), anchors }
    }
}

impl Addresses {
    pub(super) fn as_slice(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl Key {
    pub(super) fn is_of(&self, route: &str) -> bool {
        self.route == route
    }

    pub(super) fn held_by(&self, share: &str) -> bool {
        self.shares.iter().any(|(uid, _)| uid == share)
    }
}

#[cfg(test)]
mod tests {
    use keylend_contract::{
        address::Networks, domain_lock::DomainLock, upstream::Ports, wire::HeadersDigest,
    };

    use super::*;

    fn permit(share: &str, domain: &str, port: u16, networks: &[&str]) -> Permit {
        Permit {
            share: share.into(),
            generation: 1,
            lock: DomainLock::parse(&[domain]).unwrap(),
            ports: Ports::try_from(vec![port]).unwrap(),
            networks: Networks::parse(networks).unwrap(),
            anchors: Anchors::Public,
        }
    }

    fn granted(permits: Vec<Permit>) -> Granted {
        let destination = "https://api.example.com".parse().unwrap();
        let headers_digest = HeadersDigest::of(&[]);
        Granted { begin_within_ms: 2_000, destination, permits, headers: vec![], headers_digest }
    }

    #[test]
    fn every_permit_must_approve_host_and_port() {
        let good = || permit("a", "*.example.com", 443, &[]);
        for (permits, code) in [
            (vec![good()], None),
            (vec![good(), permit("b", "api.example.com", 443, &[])], None),
            (vec![], Some("host_not_approved")),
            (vec![good(), permit("b", "www.example.com", 443, &[])], Some("host_not_approved")),
            (vec![good(), permit("b", "api.example.com", 8443, &[])], Some("port_not_approved")),
        ] {
            let refused = Destination::permitted(&granted(permits)).err();
            assert_eq!(refused.as_ref().map(Refusal::code), code);
        }
    }

    #[test]
    fn every_permit_must_approve_every_address() {
        let listed = || permit("a", "api.example.com", 443, &["10.0.0.0/8"]);
        let unlisted = || permit("b", "api.example.com", 443, &[]);
        let (public, private): (IpAddr, IpAddr) = ("8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap());
        for (permits, answers, approved) in [
            (vec![listed()], vec![private, public], true),
            (vec![unlisted()], vec![public], true),
            (vec![unlisted()], vec![public, private], false),
            (vec![listed(), unlisted()], vec![private], false),
            (vec![listed()], vec![], false),
        ] {
            let granted = granted(permits);
            let destination = Destination::permitted(&granted).unwrap();
            assert_eq!(destination.approve(&answers).is_ok(), approved, "{answers:?}");
        }
    }

    #[test]
    fn connections_are_parted_by_route_share_generation_destination_and_anchors() {
        let one = granted(vec![permit("a", "api.example.com", 443, &[])]);
        let key = |granted: &Granted| Destination::permitted(granted).unwrap().key("r");
        let differing: [fn(&mut Granted); 4] = [
            |granted| granted.permits[0].share = "b".into(),
            |granted| granted.permits[0].generation = 2,
            |granted| granted.permits[0].anchors = Anchors::Pem("x".into()),
            |granted| granted.permits.push(permit("b", "api.example.com", 443, &[])),
        ];
        assert!(key(&one) == key(&one.clone()));
        for (index, change) in differing.into_iter().enumerate() {
            let mut other = one.clone();
            change(&mut other);
            assert!(key(&one) != key(&other), "{index}");
        }
        assert!(key(&one) != Destination::permitted(&one).unwrap().key("q"));
        assert!(key(&one).held_by("a") && !key(&one).held_by("b"));
        assert!(key(&one).is_of("r") && !key(&one).is_of("q"));
    }
}
