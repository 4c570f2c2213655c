//! `kubectl keylend`: what an owner and a recipient do from a shell, through the API server and with their own rights.

mod accept;
mod cluster;
mod lock;
mod put;
mod seal;
mod share;
mod status;
mod value;
mod version;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// The exit code for arguments that make no sense; clap's own as well.
const INVALID_ARGUMENTS: u8 = 2;

/// Lend a credential without handing it over.
#[derive(Parser)]
#[command(name = "kubectl-keylend", bin_name = "kubectl keylend", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Flags that every command takes.
#[derive(Args, Clone)]
struct Global {
    /// The namespace; the kubeconfig's own where it is left out.
    #[arg(long, short = 'n', global = true)]
    namespace: Option<String>,
    /// The kubeconfig's context.
    #[arg(long, global = true)]
    context: Option<String>,
    /// The kubeconfig; KUBECONFIG and ~/.kube/config, as kubectl reads them, where it is left out.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// How results are written.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Seal a value and make it live; prints its version
    Put(put::Put),
    /// Seal a value for Git; prints the blob
    Seal(seal::Seal),
    /// Say which hosts a list of domains permits
    #[command(subcommand)]
    Lock(lock::Lock),
    /// Share a secret, or stop sharing it
    #[command(subcommand)]
    Share(share::Share),
    /// Link to a share that was made for this namespace
    Accept(accept::Accept),
    /// Say what a route's chain looks like, and which link of it refuses
    Status(status::Status),
    /// Print versions
    Version,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Err(mistaken) = lock::refuse_hosts_that_look_like_flags(Arguments::command(), std::env::args_os())
    {
        complain(&format!("error: {mistaken}"));
        return ExitCode::from(INVALID_ARGUMENTS);
    }
    let arguments = Arguments::parse();
    // The provider is installed once per process; a second installation changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let global = &arguments.global;
    let outcome = match arguments.command {
        Command::Put(put) => put.run(global).await,
        Command::Seal(seal) => seal.run(global).await,
        Command::Lock(lock) => return lock.run(global.output),
        Command::Share(share) => share.run(global).await,
        Command::Accept(accept) => accept.run(global).await,
        Command::Status(status) => status.run(global).await,
        Command::Version => version::run(global).await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {}", sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

/// What was being done and why it failed; of an answer of the API server, its own sentence and nothing else.
fn sentence(error: &anyhow::Error) -> String {
    let mut causes = Vec::new();
    for cause in error.chain() {
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            causes.push(status.message.clone());
            break;
        }
        causes.push(cause.to_string());
    }
    causes.join(": ")
}

/// Writes a line to standard output.
#[expect(clippy::print_stdout, reason = "a command's result goes to standard output")]
fn say(line: &str) {
    println!("{line}");
}

/// Writes a line to standard error.
#[expect(clippy::print_stderr, reason = "a command's complaint goes to standard error")]
fn complain(line: &str) {
    eprintln!("{line}");
}
