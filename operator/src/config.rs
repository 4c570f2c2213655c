//! The only reader of arguments and environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::audit::Head;

const AUDIT_DIRECTORY: &str = "/var/lib/keylend/audit";

/// What the operator was started with.
#[derive(Parser, Debug)]
#[command(
    name = "keylend-operator",
    version,
    about = "Keeps values sealed, decides who may use them, and says stop"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run one replica until SIGTERM.
    Run(Box<Config>),
    /// Take our finalizers off every object, after Keylend was uninstalled.
    Lift,
    /// Say whether the audit log is whole; exits with 1 if it is not, and names the lines. It may be written meanwhile.
    VerifyAudit(Inspection),
}

/// Which log, and what else is known of it.
#[derive(Args, Debug, Clone)]
pub struct Inspection {
    /// Where the audit log is kept.
    #[arg(long, default_value = AUDIT_DIRECTORY)]
    pub audit_directory: PathBuf,
    /// A head that an earlier run printed: without it a log that was cut at its end is whole; may be repeated.
    #[arg(long = "head", value_name = "NUMBER:HASH")]
    pub heads: Vec<Head>,
}

/// How one replica runs. Everything that other parts rely on is fixed and not in here.
#[derive(Args, Debug, Clone)]
pub struct Config {
    /// The image injected into pods.
    #[arg(long)]
    pub sidecar_image: String,
    /// When the kubelet pulls it: Always, `IfNotPresent` or Never.
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_image_pull_policy: String,
    /// This replica's name; the pod's.
    #[arg(long, env = "KEYLEND_REPLICA")]
    pub replica: String,
    /// Where the audit log is kept.
    #[arg(long, default_value = AUDIT_DIRECTORY)]
    pub audit_directory: PathBuf,
    /// How large the audit log may become, in bytes.
    #[arg(long, default_value_t = 805_306_368)]
    pub audit_budget_bytes: u64,
    /// How long a row is kept at least, such as 24h.
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub audit_minimum_retention: SignedDuration,
    /// Where sidecars are served.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub sidecar_address: SocketAddr,
    /// Where the API server's webhook calls are served.
    #[arg(long, default_value = "0.0.0.0:10250")]
    pub webhook_address: SocketAddr,
    /// Where probes and metrics are served, in the clear.
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub metrics_address: SocketAddr,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "write a duration as 168h, 30m or 10s".to_owned())?;
    if duration.is_negative() { Err("a duration is not negative".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_s_arguments_are_understood() {
        let arguments =
            ["keylend-operator", "run", "--sidecar-image=s", "--replica=r", "--audit-minimum-retention=168h"];
        let Command::Run(config) = Arguments::try_parse_from(arguments).unwrap().command else { panic!() };
        let lift = Arguments::try_parse_from(["keylend-operator", "lift"]).unwrap().command;
        assert!(matches!(lift, Command::Lift));
        let verify = Arguments::try_parse_from(["keylend-operator", "verify-audit"]).unwrap().command;
        let Command::VerifyAudit(inspection) = verify else { panic!() };
        assert_eq!(inspection.audit_directory, config.audit_directory);
        assert_eq!(config.audit_minimum_retention, SignedDuration::from_hours(168));
        assert!(duration("-1h").is_err());
        assert!(duration("soon").is_err());
    }
}
