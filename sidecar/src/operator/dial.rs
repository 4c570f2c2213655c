//! Finds a replica of the operator that answers.
//!
//! The DNS name has an address a replica. Any of them will do, because each must prove the one name by a pinned root;
//! the one that just failed is tried last.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ::aws_lc_rs::rand;
use rustls::{
    ClientConfig, RootCertStore,
    client::{ResolvesClientCert, Resumption},
    crypto::aws_lc_rs,
    version::TLS13,
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection::{Connection, OpenError};
use crate::{config::Config, fault::Fault};

/// How long one address is tried before the next.
const ADDRESS_LIMIT: Duration = Duration::from_millis(700);

/// Connects to the operator, as one caller or as nobody yet.
pub(crate) struct Dialer {
    host: String,
    port: u16,
    tls: TlsConnector,
}

/// Why no replica was reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("resolving the operator's name")]
    Resolve(#[source] io::Error),
    #[error("resolving the operator's name: it has no address")]
    NoAddress,
    #[error("the operator did not accept a connection in time")]
    TimedOut,
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Dialer {
    /// Dials without a client certificate: good for enrolment only.
    pub(crate) fn anonymous(config: &Config) -> Result<Self, Fault> {
        let tls = versions()?.with_root_certificates(roots(config)).with_no_client_auth();
        Ok(Self::new(config, tls))
    }

    /// Dials with whatever certificate `certificates` has at that time.
    pub(crate) fn identified(
        config: &Config,
        certificates: Arc<dyn ResolvesClientCert>,
    ) -> Result<Self, Fault> {
        let tls = versions()?.with_root_certificates(roots(config)).with_client_cert_resolver(certificates);
        Ok(Self::new(config, tls))
    }

    fn new(config: &Config, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would speak for the certificate it began with.
        tls.resumption = Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(tls));
        Self { host: config.operator_host.clone(), port: config.operator_port, tls }
    }

    /// Connects to the first address that answers; `last` is tried last.
    pub(crate) async fn dial(&self, last: Option<SocketAddr>) -> Result<Connection, DialError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(DialError::Resolve)?.collect();
        let mut failed = DialError::NoAddress;
        let mut random = [0; 8];
        // Without randomness every sidecar begins with the same address, which is no less safe.
        let _ = rand::fill(&mut random);
        for address in in_turn(found, u64::from_ne_bytes(random), last) {
            match timeout(ADDRESS_LIMIT, Connection::open(address, &self.tls)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failed = error.into(),
                Err(_) => failed = DialError::TimedOut,
            }
        }
        Err(failed)
    }
}

/// The order in which addresses are tried: from a `random` start, so that sidecars spread; `last` at the end.
fn in_turn(mut addresses: Vec<SocketAddr>, random: u64, last: Option<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    let start = usize::try_from(random % (addresses.len().max(1) as u64)).unwrap_or(0);
    addresses.rotate_left(start);
    addresses.sort_by_key(|address| Some(*address) == last);
    addresses
}

fn versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Fault> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Fault::new("configuring TLS to the operator", error))
}

fn roots(config: &Config) -> Arc<RootCertStore> {
    Arc::new(config.operator_roots.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_tried_once_and_the_failed_one_last() {
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 8443));
        let all = vec![address(2), address(1), address(3), address(1)];
        let order = |random, last: Option<u8>| in_turn(all.clone(), random, last.map(address));
        assert_eq!(order(0, None), [1, 2, 3].map(address));
        assert_eq!(order(7, None), [2, 3, 1].map(address));
        assert_eq!(order(0, Some(1)), [2, 3, 1].map(address));
        assert_eq!(order(1, Some(3)), [2, 1, 3].map(address));
        assert_eq!(order(0, Some(9)), [1, 2, 3].map(address));
        assert_eq!(in_turn(vec![], 5, None), []);
        assert_eq!(in_turn(vec![address(1)], 5, Some(address(1))), [address(1)]);
    }
}
