//! `version`: this plugin's, and the operator's where one can be seen.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use k8s_openapi::api::apps::v1::StatefulSet;
use keylend_contract::wire::WIRE_VERSION;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::{
    Global, Output,
    cluster::{Cluster, OPERATOR_NAMESPACE},
    report::say,
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
        let operator = operator(global).await;
        match global.output {
            Output::Text => {
                say(&format!("plugin    {plugin} (wire version {WIRE_VERSION})"))?;
                say(&format!(
                    "operator  {}",
                    operator
                        .as_deref()
                        .unwrap_or("not seen: not installed, or you may not read keylend-system")
                ))
            }
            Output::Json => {
                say(&json!({"plugin": plugin, "wireVersion": WIRE_VERSION, "operator": operator}).to_string())
            }
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn operator(global: &Global) -> Option<String> {
    let cluster = Cluster::connect(global).await.ok()?;
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client, OPERATOR_NAMESPACE);
    sets.get_opt(OPERATOR).await.ok().flatten()?.labels().get(VERSION_LABEL).cloned()
}
