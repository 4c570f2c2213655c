//! `lock test`: which hosts a list of domains permits, by the same code that decides calls. Needs no cluster.

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use keylend_contract::{domain_lock::DomainLock, host::Host, refusal::Refusal};
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
    #[arg(long = "domain", short, required = true, value_name = "DOMAIN", allow_hyphen_values = true)]
    domains: Vec<OsString>,
    /// The hosts to test.
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<OsString>,
}

impl Lock {
    pub(crate) fn run(self, output: Output) -> ExitCode {
        let Self::Test(test) = self;
        match DomainLock::parse(&test.domains.iter().map(|domain| text(domain)).collect::<Vec<_>>()) {
            Ok(lock) => print(&verdicts(&lock, &test.hosts), output),
            Err(error) => {
                complain(&format!("error: not a valid domain: {error}"));
                ExitCode::from(INVALID)
            }
        }
    }
}

/// An argument as text. What is no Unicode holds a replacement character then, which no name has.
fn text(argument: &OsStr) -> String {
    argument.to_string_lossy().into_owned()
}

/// An argument as it stands in a line: a line end or a tab in it would look like the end of it.
fn in_one_line(argument: &str) -> String {
    argument
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// The code that refuses each host; `None` for those permitted.
fn verdicts(lock: &DomainLock, hosts: &[OsString]) -> Vec<(String, Option<&'static str>)> {
    let verdict = |host: &str| match host.parse::<Host>() {
        Ok(host) => lock.permit(&host).err().map(|refusal| refusal.code()),
        Err(error) => Some(Refusal::HostNotAName { reason: error.to_string() }.code()),
    };
    let judged = |host: &OsString| {
        let host = text(host);
        let refused = verdict(&host);
        (host, refused)
    };
    hosts.iter().map(judged).collect()
}

fn print(verdicts: &[(String, Option<&'static str>)], output: Output) -> ExitCode {
    for (host, refused) in verdicts {
        match (output, refused) {
            (Output::Text, None) => say(&format!("permitted\t{host}")),
            (Output::Text, Some(code)) => say(&format!("refused\t{}\t{code}", in_one_line(host))),
            (Output::Json, refused) => {
                say(&json!({"host": host, "permitted": refused.is_none(), "code": refused}).to_string());
            }
        }
    }
    if verdicts.iter().all(|(_, refused)| refused.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
