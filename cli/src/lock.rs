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
    domain_lock::{DomainLock, DomainPattern},
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
/// for `-h` and exit with 0, as if the host were permitted. A flag that its value is joined to, as `-ojson`, is one only where
/// `--` divides flags from hosts.
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
    let (mut verbs, mut mistaken, mut joined, mut help, mut judges) = (Vec::new(), None, None, None, false);
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        let word = text(argument);
        if word == "--" {
            joined = None;
            break;
        }
        let flag = test.get_arguments().find_map(|flag| Some((flag, spelling(flag, &word)?)));
        judges |= flag.is_some_and(|(flag, _)| flag.get_id() == "domains");
        match flag {
            Some((flag, _)) if flag.get_id() == "help" => help = help.or(Some(argument)),
            // Even `--` is a value where one is due.
            Some((_, Spelling::ValueFollows)) => _ = rest.next(),
            Some((_, Spelling::Joined)) if is_test(&verbs) => joined = joined.or(Some(argument)),
            None if !word.starts_with('-') => verbs.push(word),
            None if is_test(&verbs) => mistaken = mistaken.or(Some(argument)),
            Some(_) | None => {}
        }
    }
    let usage = "put -- before the hosts: kubectl keylend lock test --domain DOMAIN -- HOST...";
    if let Some(argument) = mistaken.or(joined) {
        return Err(InvalidArgument(format!("'{}' begins like a flag; {usage}", in_one_line(argument))));
    }
    // Whoever gives domains wants a verdict: help, with its exit code 0, would read as one.
    match help {
        Some(help) if judges && is_test(&verbs) => Err(InvalidArgument(format!(
            "'{}' goes without --domain; where it is a host, {usage}",
            in_one_line(help)
        ))),
        Some(_) | None => Ok(()),
    }
}

fn is_test(verbs: &[String]) -> bool {
    matches!(verbs, [lock, test, ..] if lock == "lock" && test == "test")
}

/// How a flag is written.
#[derive(Clone, Copy)]
enum Spelling {
    /// In full, and it takes no value or has one behind a `=`, as `--output=json`.
    Whole,
    /// In full, as `-o`; the next argument is its value.
    ValueFollows,
    /// With its value behind the one letter, as `-ojson` or `-o=json`.
    Joined,
}

fn spelling(flag: &Arg, word: &str) -> Option<Spelling> {
    let takes_value = flag.get_action().takes_values();
    let alone = if takes_value { Spelling::ValueFollows } else { Spelling::Whole };
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let spelling = if value.is_some() { Spelling::Whole } else { alone };
        return (flag.get_long() == Some(name)).then_some(spelling);
    }
    let value = word.strip_prefix('-')?.strip_prefix(flag.get_short()?)?;
    match value {
        "" => Some(alone),
        _ => takes_value.then_some(Spelling::Joined),
    }
}

impl Lock {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode> {
        let Self::Test(test) = self;
        let invalid = |error: String| InvalidArgument(format!("not a valid domain: {error}"));
        let patterns = test.domains.iter().map(|domain| {
            let pattern = text(domain).parse::<DomainPattern>();
            pattern.map_err(|error| invalid(format!("'{}': {error}", in_one_line(domain))))
        });
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        let lock = DomainLock::try_from(patterns).map_err(|error| invalid(error.to_string()))?;
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
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    line.extend(c.escape_unicode());
                }
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
