//! `lock test`: which hosts a list of domains permits, by the same code that decides calls. Needs no cluster.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Arg, Args, Subcommand};
use keylend_contract::{
    domain_lock::DomainLock,
    host::{Host, HostError},
    refusal::Refusal,
};
use serde_json::json;

use crate::{
    Output,
    report::{InvalidArgument, say},
};

/// Say which hosts a list of domains permits
#[derive(Subcommand)]
#[command(after_help = "Examples:
  kubectl keylend lock test --domain '*.example.com' -- a.example.com")]
pub(crate) enum Lock {
    /// Test hosts against domains, offline
    ///
    /// Prints one line for each host, in order: `permitted<TAB>HOST`, or `refused<TAB>HOST<TAB>CODE`.
    /// What would break a line or turn it around is escaped, as `\n`, `\u{202e}` or `\xff`. With `-o json`, `reason` says why.
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
    arguments: &[OsString],
) -> Result<(), InvalidArgument> {
    plugin.build();
    let test = plugin.find_subcommand("lock").and_then(|lock| lock.find_subcommand("test"));
    let Some(test) = test else { return Ok(()) };
    let arguments: Vec<String> = arguments.iter().skip(1).map(|argument| text(argument)).collect();
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
        Err(InvalidArgument(format!(
            "'{}' begins like a flag; put -- before the hosts: kubectl keylend lock test --domain DOMAIN -- HOST...",
            argument.escape_debug()
        )))
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
    pub(crate) fn run(self, output: Output) -> Result<ExitCode> {
        let Self::Test(test) = self;
        let lock = DomainLock::parse(&test.domains.iter().map(|domain| text(domain)).collect::<Vec<_>>())
            .map_err(|error| InvalidArgument(format!("not a valid domain: {error}")))?;
        let mut code = ExitCode::SUCCESS;
        for host in &test.hosts {
            let refusal = judge(&lock, &text(host)).err();
            if refusal.is_some() {
                code = ExitCode::FAILURE;
            }
            say(&line(host, refusal.as_ref(), output))?;
        }
        Ok(code)
    }
}

/// An argument as text. What is no Unicode holds a replacement character then, which no name has.
fn text(argument: &OsStr) -> String {
    argument.to_string_lossy().into_owned()
}

fn judge(lock: &DomainLock, host: &str) -> Result<(), Refusal> {
    let host: Host =
        host.parse().map_err(|error: HostError| Refusal::HostNotAName { reason: error.to_string() })?;
    lock.permit(&host).map(|_| ())
}

fn line(host: &OsStr, refusal: Option<&Refusal>, output: Output) -> String {
    let code = refusal.map(Refusal::code);
    match (output, code) {
        (Output::Text, None) => format!("permitted\t{}", in_one_line(host)),
        (Output::Text, Some(code)) => format!("refused\t{}\t{code}", in_one_line(host)),
        (Output::Json, code) => {
            let reason = refusal.map(ToString::to_string);
            json!({"host": text(host), "permitted": refusal.is_none(), "code": code, "reason": reason})
                .to_string()
        }
    }
}

/// An argument as it stands in a line: as it came, but for what a reader may take for the line's end, what turns a line
/// around, and bytes that are no text.
fn in_one_line(argument: &OsStr) -> String {
    let mut line = String::new();
    for chunk in argument.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => line.extend(c.escape_unicode()),
                c if c.is_control() => line.extend(c.escape_debug()),
                c => line.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a text cannot fail.
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
    line
}
