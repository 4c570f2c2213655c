//! What a run writes, and the exit code that goes with it: results to standard output, complaints to standard error.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

use kube::config::InferConfigError;
use serde_json::json;

use crate::{Global, Output, cluster};

/// The exit code for arguments that make no sense; clap's own as well.
const INVALID_ARGUMENTS: u8 = 2;

/// The result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing the result")]
struct Unwritten(#[source] io::Error);

/// Arguments that make no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidArgument(pub(crate) String);

/// Writes a line of a result.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(Unwritten)?;
    Ok(())
}

/// `text` of an object, which others wrote, for one line of a terminal: what would control it stands escaped.
pub(crate) fn one_line(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    text.chars().map(shown).collect()
}

/// Writes an `error` or a `warning`; there is nobody to tell if that fails.
pub(crate) fn complain(output: Output, kind: &str, complaint: &str) {
    let line = match output {
        Output::Text => format!("{kind}: {complaint}"),
        Output::Json => json!({kind: complaint}).to_string(),
    };
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says why a run failed. Whoever closed the pipe has read enough, and hears nothing more.
pub(crate) async fn failed(global: &Global, error: &anyhow::Error) -> ExitCode {
    let closed = |Unwritten(cause): &Unwritten| cause.kind() == ErrorKind::BrokenPipe;
    if !error.downcast_ref().is_some_and(closed) {
        complain(global.output, "error", &sentence(global, error).await);
    }
    if error.is::<InvalidArgument>() { ExitCode::from(INVALID_ARGUMENTS) } else { ExitCode::FAILURE }
}

/// Ends a run whose arguments make no sense.
pub(crate) fn invalid(output: Output, error: &InvalidArgument) -> ExitCode {
    complain(output, "error", &error.to_string());
    ExitCode::from(INVALID_ARGUMENTS)
}

/// Ends a run whose arguments clap does not take, or answers with help or a version.
pub(crate) fn unparsed(output: Output, error: &clap::Error) -> ExitCode {
    if output == Output::Text || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    invalid(output, &InvalidArgument(text.strip_prefix("error: ").unwrap_or(text).trim_end().to_owned()))
}

/// How results are to be written, as far as arguments say so that may not make sense.
pub(crate) fn wanted(arguments: &[OsString]) -> Output {
    let flags: Vec<_> = arguments.iter().take_while(|argument| *argument != "--").collect();
    let joined = |flag: &&OsString| ["-ojson", "-o=json", "--output=json"].iter().any(|json| *flag == json);
    let apart = flags.windows(2).any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json");
    if apart || flags.iter().any(joined) { Output::Json } else { Output::Text }
}

/// What was being done and why it failed: each cause once, and of an answer of the API server its own sentence alone.
pub(crate) async fn sentence(global: &Global, error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut advice = "";
    for cause in error.chain() {
        let text = match cause.downcast_ref() {
            Some(kube::Error::Api(status)) => {
                causes.push(status.message.clone());
                break;
            }
            Some(kube::Error::Service(_) | kube::Error::HyperError(_)) => {
                advice = "; check that the cluster runs, and --kubeconfig, KUBECONFIG and --context";
                let server = cluster::server(global).await.unwrap_or_default();
                format!("no answer from the API server {server}")
            }
            // Both say what their cause says, after words of their own.
            _ if cause.is::<kube::Error>() && cause.source().is_some() => continue,
            _ if cause.is::<InferConfigError>() => continue,
            Some(_) | None => cause.to_string(),
        };
        if !causes.iter().any(|earlier| earlier.contains(&text)) {
            causes.push(text);
        }
    }
    causes.join(": ") + advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_wrote_controls_a_terminal_or_makes_a_line_of_its_own() {
        assert_eq!(one_line("a\u{1b}[2J\npermits \u{9b}b \u{e9}"), "a\\u{1b}[2J\\npermits \\u{9b}b \u{e9}");
    }
}
