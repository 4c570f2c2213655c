//! `version`: this plugin's, and the operator's where one can be seen.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::api::apps::v1::StatefulSet;
use keylend_contract::wire::WIRE_VERSION;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::{
    Global, Output,
    cluster::{Cluster, OPERATOR_NAMESPACE, Seen, see},
    report::{say, sentence},
};

const OPERATOR: &str = "keylend-operator";
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// Print versions
///
/// The plugin's own, and the operator's where it can be seen; without a cluster that is no failure.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend version --output json")]
pub(crate) struct Version {}

impl Version {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let plugin = env!("CARGO_PKG_VERSION");
        let (operator, reason) = match operator(global).await {
            Ok(version) => (Some(version), None),
            Err(error) => (None, Some(sentence(global, &error).await)),
        };
        match global.output {
            Output::Text => {
                say(&format!("plugin    {plugin} (wire version {WIRE_VERSION})"))?;
                let not_seen = format!("not seen: {}", reason.unwrap_or_default());
                say(&format!("operator  {}", operator.unwrap_or(not_seen)))
            }
            Output::Json => {
                let version = json!({
                    "plugin": plugin, "wireVersion": WIRE_VERSION, "operator": operator, "reason": reason,
                });
                say(&version.to_string())
            }
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn operator(global: &Global) -> Result<String> {
    let cluster = Cluster::connect(global).await?;
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client, OPERATOR_NAMESPACE);
    match see(&sets, OPERATOR).await.context("looking for the operator")? {
        Seen::There(set) => {
            set.labels().get(VERSION_LABEL).cloned().context("the operator has no version label")
        }
        Seen::Gone => bail!("it is not installed"),
        Seen::Hidden => bail!("you may not read {OPERATOR_NAMESPACE}"),
    }
}
