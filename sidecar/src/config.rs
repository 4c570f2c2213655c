//! What the sidecar is told: the one reader of the environment.
//!
//! One variable is read, the operator's roots, which the injector writes and enrolment compares. Everything else is
//! burned in, so that nobody who writes a pod can point the sidecar elsewhere. Nothing may be added that changes what
//! the sidecar trusts, listens on or reports.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use keylend_contract::{
    injected::{LISTENER, ROOTS_VARIABLE, TOKEN_DIRECTORY, TOKEN_FILE},
    wire::OPERATOR_PORT,
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};

const OPERATOR_HOST: &str = "keylend-operator.keylend-system.svc";

/// Everything the sidecar must know to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where apps reach us.
    pub listener: SocketAddr,
    /// The operator's DNS name, with an address a replica.
    pub operator_host: String,
    /// The operator's port.
    pub operator_port: u16,
    /// Who may vouch for the operator.
    pub operator_roots: RootCertStore,
    /// The file of the projected token.
    pub token: PathBuf,
}

/// Why there is no configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Absent or not text.
    #[error("reading {ROOTS_VARIABLE}: it is not set; the injector sets it")]
    RootsUnset,
    /// No PEM, or PEM that is no certificate.
    #[error("reading {ROOTS_VARIABLE}: it is not a list of PEM certificates")]
    RootsInvalid,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
        let roots = std::env::var_os(ROOTS_VARIABLE);
        Self::of(roots)
    }

    fn of(roots: Option<OsString>) -> Result<Self, ConfigError> {
        let roots = roots.and_then(|roots| roots.into_string().ok()).ok_or(ConfigError::RootsUnset)?;
        Ok(Self {
            listener: LISTENER,
            operator_host: OPERATOR_HOST.into(),
            operator_port: OPERATOR_PORT,
            operator_roots: parse_roots(&roots)?,
            token: Path::new(TOKEN_DIRECTORY).join(TOKEN_FILE),
        })
    }
}

/// Reads a list of roots; one that is not valid invalidates the list.
///
/// # Errors
/// [`ConfigError::RootsInvalid`], also for an empty list.
pub fn parse_roots(pem: &str) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let root = root.map_err(|_| ConfigError::RootsInvalid)?;
        roots.add(root).map_err(|_| ConfigError::RootsInvalid)?;
    }
    if roots.is_empty() { Err(ConfigError::RootsInvalid) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn root() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn without_valid_roots_there_is_no_configuration() {
        let (one, two) = (root(), root());
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let table = [
            (None, Err(ConfigError::RootsUnset)),
            (Some(OsString::from_vec(vec![0xff])), Err(ConfigError::RootsUnset)),
            (Some("".into()), Err(ConfigError::RootsInvalid)),
            (Some("no pem".into()), Err(ConfigError::RootsInvalid)),
            (Some(format!("{one}{garbage}").into()), Err(ConfigError::RootsInvalid)),
            (Some(one.clone().into()), Ok(1)),
            (Some(format!("{one}{two}").into()), Ok(2)),
        ];
        for (roots, expected) in table {
            assert_eq!(Config::of(roots).map(|config| config.operator_roots.len()), expected);
        }
    }
}
