//! `kubectl keylend`: what an owner and a recipient do from a shell, through the API server and with their own rights.

mod accept;
mod argument;
mod cluster;
mod lock;
mod put;
mod report;
mod seal;
mod share;
mod status;
mod value;
mod version;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// Lend a credential without handing it over.
#[derive(Parser)]
#[command(name = "kubectl-keylend", bin_name = "kubectl keylend", version, disable_help_subcommand = true)]
#[command(after_help = "Examples:
  kubectl keylend put stripe-api-key --create --environment production --namespace payments
  kubectl keylend status stripe --namespace partner
  kubectl keylend COMMAND --help      # says more, with examples

Exit codes:
  0  done; of 'lock test' and 'status', that nothing refuses
  1  refused, failed or not over in time: a value, a file of keys or the cluster is why
  2  the arguments make no sense, and nothing was done")]
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
    #[arg(long, short = 'n', global = true, value_parser = argument::namespace)]
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
    Put(put::Put),
    Seal(seal::Seal),
    #[command(subcommand)]
    Lock(lock::Lock),
    #[command(subcommand)]
    Share(share::Share),
    Accept(accept::Accept),
    Status(status::Status),
    Version(version::Version),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let given: Vec<_> = std::env::args_os().collect();
    if let Err(error) = lock::refuse_hosts_that_look_like_flags(Arguments::command(), &given) {
        return report::invalid(report::wanted(&given), &error);
    }
    let arguments = match Arguments::try_parse_from(&given) {
        Ok(arguments) => arguments,
        Err(error) => return report::unparsed(report::wanted(&given), &error),
    };
    // The provider is installed once per process; a second installation changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let global = arguments.global;
    match arguments.command.run(&global).await {
        Ok(code) => code,
        Err(error) => report::failed(&global, &error).await,
    }
}

impl Command {
    async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self {
            Self::Put(put) => put.run(global).await,
            Self::Seal(seal) => seal.run(global).await,
            Self::Lock(lock) => lock.run(global.output),
            Self::Share(share) => share.run(global).await,
            Self::Accept(accept) => accept.run(global).await,
            Self::Status(status) => status.run(global).await,
            Self::Version(version) => version.run(global).await,
        }
    }
}
