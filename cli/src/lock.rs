//! `lock test`: which hosts a list of domains permits, by the same code that decides calls. Needs no cluster.

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::{Arg, Args, Subcommand};
use keylend_contract::{domain_lock::DomainLock, host::Host, refusal::Refusal};
use serde_json::json;

use crate::{INVALID_ARGUMENTS, Output, complain, say};

/// Say which hosts a list of domains permits
#[derive(Subcommand)]
pub(crate) enum Lock {
    /// Test hosts against domains, offline
    ///
    /// Prints one line for each host, in order: `permitted<TAB>HOST`, or `refused<TAB>HOST<TAB>CODE`.
    /// Exits with 0 if all are permitted, 1 if some are refused, 2 if a domain is not valid.
    ///
    /// Put `--` before the hosts where they are not your own words: behind it nothing is taken for a flag.
    Test(Test),
}

#[derive(Args)]
#[command(
    override_usage = "kubectl keylend lock test --domain <DOMAIN> [--domain <DOMAIN>]... [--] <HOST>...",
    after_help = "Examples:
  kubectl keylend lock test --domain api.stripe.com --domain '*.example.com' -- api.stripe.com a.example.com example.com"
)]
pub(crate) struct Test {
    /// A domain as in spec.use.domains; may be repeated.
    #[arg(long = "domain", short, required = true, value_name = "DOMAIN", allow_hyphen_values = true)]
    domains: Vec<OsString>,
    /// The hosts to test, behind `--`.
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<OsString>,
}

/// Refuses what stands among the hosts of `lock test`, begins with '-' and is no flag in full: clap would take `-h.a.com`
/// for `-h` and exit with 0, as if the host were permitted.
///
/// # Errors
/// The sentence to show.
pub(crate) fn refuse_hosts_that_look_like_flags(
    mut plugin: clap::Command,
    arguments: impl Iterator<Item = OsString>,
) -> Result<(), String> {
    plugin.build();
    let test = plugin.find_subcommand("lock").and_then(|lock| lock.find_subcommand("test"));
    let Some(test) = test else { return Ok(()) };
    let arguments: Vec<String> = arguments.skip(1).map(|argument| text(&argument)).collect();
    let (mut verbs, mut mistaken, mut help, mut judges) = (Vec::new(), None, false, false);
    let mut rest = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = rest.next() {
        match test.get_arguments().find(|flag| is_flag(flag, argument)) {
            Some(flag) => {
                judges |= flag.get_id() == "domains";
                help |= flag.get_id() == "help";
                if flag.get_action().takes_values() && !argument.contains('=') {
                    rest.next();
                }
            }
            None if !argument.starts_with('-') => verbs.push(argument.as_str()),
            None if verbs.starts_with(&["lock", "test"]) => mistaken = mistaken.or(Some(argument.as_str())),
            None => {}
        }
    }
    // Whoever gives domains wants a verdict: help, with its exit code 0, would read as one.
    let mistaken = mistaken.or((help && judges && verbs.starts_with(&["lock", "test"])).then_some("--help"));
    mistaken.map_or(Ok(()), |argument| {
        Err(format!(
            "'{}' begins like a flag; put -- before the hosts: kubectl keylend lock test --domain DOMAIN -- HOST...",
            argument.escape_debug()
        ))
    })
}

fn is_flag(flag: &Arg, argument: &str) -> bool {
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    let long = flag.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
    let short = flag
        .get_short()
        .is_some_and(|short| argument.strip_prefix('-').is_some_and(|rest| rest.chars().eq([short])));
    long || short
}

impl Lock {
    pub(crate) fn run(self, output: Output) -> ExitCode {
        let Self::Test(test) = self;
        match DomainLock::parse(&test.domains.iter().map(|domain| text(domain)).collect::<Vec<_>>()) {
            Ok(lock) => print(&verdicts(&lock, &test.hosts), output),
            Err(error) => {
                complain(&format!("error: not a valid domain: {error}"));
                ExitCode::from(INVALID_ARGUMENTS)
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
