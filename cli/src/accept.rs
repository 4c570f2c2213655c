//! `accept`: the recipient's consent, a linked secret in their own namespace.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use keylend_contract::{environment::Environment, name::SecretName};
use keylend_crds::{
    Secret,
    secret::{Link, LinkedShare, SecretSpec, SecretType, ShareReference},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{Global, Output, argument, cluster::Cluster, report::say};

const FIELD_MANAGER: &str = "kubectl-keylend";

/// Link to a share that was made for this namespace
///
/// Makes a Secret of type Linked, or adds the share to the one there is. It holds no value: routes of this namespace name
/// it, and what they may do with it the owner's share says.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend accept payments/partner --name stripe-api-key --environment production --namespace partner")]
pub(crate) struct Accept {
    /// The share, as NAMESPACE/NAME.
    #[arg(value_parser = argument::share)]
    share: (String, String),
    /// The name routes of this namespace use.
    #[arg(long)]
    name: SecretName,
    /// The environment of this namespace's routes that it is for.
    #[arg(long, short)]
    environment: Environment,
    /// The share's UID: accepts a share that was made anew under its name.
    #[arg(long)]
    uid: Option<String>,
}

impl Accept {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let (namespace, share) = &self.share;
        let cluster = Cluster::connect(global).await?;
        let secrets: Api<Secret> = cluster.api();
        let name = self.name.as_str();
        let existing = secrets.get_opt(name).await.context("reading the secret")?;
        if existing.is_some_and(|secret| secret.spec.type_ != SecretType::Linked) {
            bail!("Secret '{name}' of this namespace holds a value of its own; choose another --name");
        }
        let link = self.link(ShareReference { namespace: namespace.clone(), name: share.clone() });
        let manager = format!("{FIELD_MANAGER}-{}", self.environment);
        let apply = PatchParams::apply(&manager).force();
        secrets.patch(name, &apply, &Patch::Apply(link)).await.context("linking the share")?;
        match global.output {
            Output::Text => say(&format!(
                "keylendsecret/{name} links {namespace}/{share} for environment {}",
                self.environment
            )),
            Output::Json => {
                say(&json!({"name": name, "share": format!("{namespace}/{share}"), "environment": self.environment}).to_string())
            }
        }?;
        Ok(ExitCode::SUCCESS)
    }

    fn link(&self, share_ref: ShareReference) -> Secret {
        let environment = self.environment.as_str().to_owned();
        let shares = vec![LinkedShare { environment, share_ref, uid: self.uid.clone() }];
        let specification = SecretSpec {
            type_: SecretType::Linked,
            base_environment: None,
            environments: None,
            link: Some(Link { shares }),
        };
        Secret::new(self.name.as_str(), specification)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_what_was_said_and_nothing_else() {
        let mut accept = Accept {
            share: ("payments".to_owned(), "partner".to_owned()),
            name: "STRIPE_API_KEY".parse().unwrap(),
            environment: "production".parse().unwrap(),
            uid: None,
        };
        let share = ShareReference { namespace: "payments".to_owned(), name: "partner".to_owned() };
        let mut expected = json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "Secret",
            "metadata": {"name": "stripe-api-key"},
            "spec": {"type": "Linked", "link": {"shares": [
                {"environment": "production", "shareRef": {"namespace": "payments", "name": "partner"}},
            ]}},
        });
        assert_eq!(serde_json::to_value(accept.link(share.clone())).unwrap(), expected);
        accept.uid = Some("u".to_owned());
        expected["spec"]["link"]["shares"][0]["uid"] = json!("u");
        assert_eq!(serde_json::to_value(accept.link(share)).unwrap(), expected);
    }
}
