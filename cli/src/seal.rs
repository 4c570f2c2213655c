//! `seal`: a value becomes a blob, for Git.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use keylend_contract::{blob::Scope, environment::Environment, name::SecretName, sealing_key::SealingKeys};
use keylend_crds::secret::{SecretType, VALUE_FIELD};
use serde_json::json;

use crate::{
    Global, Output,
    cluster::{Cluster, parse_keys},
    report::{InvalidArgument, say},
    value::Source,
};

/// Seal a value for Git; prints the blob
///
/// The blob opens for this namespace, secret and environment only. Put it into spec.environments[].sealed.value.
/// A blob that was sealed before the live value is not taken in: seal anew to change a value.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend seal stripe-api-key --namespace payments --environment production < value.txt
  kubectl get configmap keylend-sealing-keys --namespace keylend-system --output 'jsonpath={.data.keys\\.json}' > keys.json
  kubectl keylend seal stripe-api-key --namespace payments --environment production --keys keys.json   # offline")]
pub(crate) struct Seal {
    /// The secret's name.
    name: SecretName,
    /// The environment the value is for.
    #[arg(long, short)]
    environment: Environment,
    /// Saved sealing keys, for sealing without a cluster; needs --namespace, because no kubeconfig is read.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Seal {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let (namespace, keys) = self.namespace_and_keys(global).await?;
        let value = self.source.read()?;
        let stamp = now_ms()?;
        let scope = scope(&namespace, self.name.as_str(), self.environment.as_str());
        let blob = keys.primary()?.seal(&scope, &value, stamp)?;
        match global.output {
            Output::Text => say(&blob.to_string()),
            Output::Json => say(
                &json!({"blob": blob.to_string(), "digest": blob.digest().to_string(), "sealedAtMs": stamp})
                    .to_string(),
            ),
        }?;
        Ok(ExitCode::SUCCESS)
    }

    async fn namespace_and_keys(&self, global: &Global) -> Result<(String, SealingKeys)> {
        let Some(path) = &self.keys else {
            let cluster = Cluster::connect(global).await?;
            let keys = cluster.sealing_keys().await?;
            return Ok((cluster.namespace, keys));
        };
        let namespace = global.namespace.clone();
        let missing =
            || InvalidArgument("--keys needs --namespace, because no kubeconfig is read".to_owned());
        let namespace = namespace.ok_or_else(missing)?;
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Ok((namespace, parse_keys(&text)?))
    }
}

/// What the value of a String is sealed for.
pub(crate) fn scope<'a>(namespace: &'a str, name: &'a str, environment: &'a str) -> Scope<'a> {
    Scope { namespace, name, secret_type: SecretType::String.as_str(), environment, field: VALUE_FIELD }
}

/// The time now, in milliseconds since 1970.
pub(crate) fn now_ms() -> Result<u64> {
    u64::try_from(Timestamp::now().as_millisecond()).context("this machine's clock is before 1970")
}
