//! `lock test`: which hosts a list of domains permits, by the same code that decides calls. Needs no cluster.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use keylend_contract::{
    domain_lock::{DomainLock, LockError},
    host::Host,
    refusal::Refusal,
};
use serde_json::json;

use crate::{Output, complain, say};

const INVALID: u8 = 2;

/// Say which hosts a list of domains permits
#[derive(Subcommand)]
pub(crate) enum Lock {
    /// Test hosts against domains, offline
    ///
    /// Prints one line for each host, in order: `permitted<TAB>HOST`, or `refused<TAB>HOST<TAB>CODE`.
    /// Exits with 0 if all are permitted, 1 if some are refused, 2 if a domain is not valid.
    Test(Test),
}

#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend lock test --domain api.stripe.com --domain '*.example.com' api.stripe.com a.example.com example.com")]
pub(crate) struct Test {
    /// A domain as in spec.use.domains; may be repeated.
    #[arg(long = "domain", short, required = true, value_name = "DOMAIN")]
    domains: Vec<String>,
    /// The hosts to test.
    #[arg(required = true)]
    hosts: Vec<String>,
}

impl Lock {
    pub(crate) fn run(self, output: Output) -> ExitCode {
        let Self::Test(test) = self;
        match DomainLock::parse(&test.domains) {
            Ok(lock) => print(&verdicts(&lock, test.hosts), output),
            Err(error) => {
                complain(&invalid(&error));
                ExitCode::from(INVALID)
            }
        }
    }
}

fn invalid(error: &LockError) -> String {
    format!("error: not a valid domain: {error}")
}

/// The code that refuses each host; `None` for those permitted.
fn verdicts(lock: &DomainLock, hosts: Vec<String>) -> Vec<(String, Option<&'static str>)> {
    let verdict = |text: &str| match text.parse::<Host>() {
        Ok(host) => lock.permit(&host).err().map(|refusal| refusal.code()),
        Err(error) => Some(Refusal::HostNotAName { reason: error.to_string() }.code()),
    };
    hosts
        .into_iter()
        .map(|host| {
            let refused = verdict(&host);
            (host, refused)
        })
        .collect()
}

fn print(verdicts: &[(String, Option<&'static str>)], output: Output) -> ExitCode {
    for (host, refused) in verdicts {
        match (output, refused) {
            (Output::Text, None) => say(&format!("permitted\t{host}")),
            (Output::Text, Some(code)) => say(&format!("refused\t{host}\t{code}")),
            (Output::Json, refused) => {
                say(&json!({"host": host, "permitted": refused.is_none(), "code": refused}).to_string());
            }
        }
    }
    if verdicts.iter().all(|(_, refused)| refused.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_gets_its_verdict_in_order() {
        let lock = DomainLock::parse(&["api.example.com", "*.example.org"]).unwrap();
        let hosts = ["api.example.com", "example.org", "a.example.org", "API.example.com", "10.0.0.1"];
        let refused: Vec<_> =
            verdicts(&lock, hosts.map(str::to_owned).into()).into_iter().map(|(_, code)| code).collect();
        let expected =
            [None, Some("host_not_approved"), None, Some("host_not_a_name"), Some("host_not_a_name")];
        assert_eq!(refused, expected);
    }

    #[test]
    fn an_invalid_domain_is_named() {
        let error = DomainLock::parse(&["api.example.com", "*.com"]).unwrap_err();
        assert!(invalid(&error).contains("'*.com'"));
    }
}
