//! `share create` and `share revoke`: an owner lends, and stops.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use keylend_contract::{
    address::Networks, domain_lock::DomainLock, environment::Environment, name::SecretName,
    place::HeaderPlace,
};
use keylend_crds::{
    SecretShare, SecretShareSpec,
    condition::{ConditionStatus, ConditionType},
    secret_share::{Access, Inject, NamespaceRecipient, Recipient, SecretReference, UsePolicy},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    Global, Output, argument,
    cluster::{Cluster, Seen, see},
    report::{InvalidArgument, complain, say, sentence},
};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const PINNED: &str = "whoever has it when the share is first accepted is pinned";

/// Share a secret, or stop sharing it
#[derive(Subcommand)]
#[command(after_help = "Examples:
  kubectl keylend share create --help
  kubectl keylend share revoke partner --namespace payments")]
pub(crate) enum Share {
    /// Share one environment's value with a namespace
    Create(Box<Create>),
    /// Stop a share for good; returns when nothing more can leave
    Revoke(Revoke),
}

#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend share create partner --secret stripe-api-key --environment production \\
    --to-namespace partner --service-account checkout --domain api.stripe.com
  kubectl keylend share create partner ... --dry-run > share.yaml      # for Git (JSON, which kubectl reads too)")]
pub(crate) struct Create {
    /// The share's name.
    #[arg(value_parser = argument::object_name)]
    name: String,
    /// The secret, in this namespace.
    #[arg(long)]
    secret: SecretName,
    /// The one environment whose value is shared.
    #[arg(long, short)]
    environment: Environment,
    /// The recipient's namespace.
    #[arg(long, value_name = "NAMESPACE", value_parser = argument::namespace)]
    to_namespace: String,
    /// A service account that may use it; may be repeated. Left out, every one of the namespace may.
    #[arg(long = "service-account", value_name = "NAME", value_parser = argument::object_name)]
    service_accounts: Vec<String>,
    /// A host the value may go to, or '*.' and a base for exactly one label; may be repeated.
    #[arg(long = "domain", required = true, value_name = "DOMAIN")]
    domains: Vec<String>,
    /// A port; may be repeated. Left out, 443 alone.
    #[arg(long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// A private network the hosts may resolve to; may be repeated. Left out, public addresses alone.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// Certificate authorities for these hosts, instead of the public ones (PEM).
    #[arg(long, value_name = "FILE", value_parser = argument::certificates)]
    ca_bundle: Option<String>,
    /// A header field a route may put the value into; may be repeated.
    #[arg(long = "header", default_value = "Authorization", value_name = "NAME")]
    headers: Vec<HeaderPlace>,
    /// When the share ends by itself (RFC 3339), such as 2030-01-31T18:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in", value_parser = argument::time_to_come)]
    expires_at: Option<Timestamp>,
    /// After how long the share ends by itself, such as 24h.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = argument::time_from_now)]
    expires_in: Option<Timestamp>,
    /// Print the share instead of making it; with --namespace no cluster is needed, which then adds no UID.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend share revoke partner --namespace payments")]
pub(crate) struct Revoke {
    /// The share's name.
    #[arg(value_parser = argument::object_name)]
    name: String,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = argument::seconds)]
    timeout: u64,
}

impl Share {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            Self::Create(create) => create.run(global).await,
            Self::Revoke(revoke) => revoke.run(global).await,
        }
    }
}

impl Create {
    async fn run(self, global: &Global) -> Result<ExitCode> {
        DomainLock::parse(&self.domains).map_err(|error| InvalidArgument(format!("--domain: {error}")))?;
        Networks::parse(&self.networks).map_err(|error| InvalidArgument(format!("--network: {error}")))?;
        if self.dry_run {
            say(&serde_json::to_string_pretty(&self.draft(global).await?)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let cluster = Cluster::connect(global).await?;
        let recipient_uid = self.recipient_uid(&cluster, global.output).await?;
        let share = self.share(&cluster.namespace, recipient_uid);
        let shares: Api<SecretShare> = cluster.api();
        let made = shares.create(&PostParams::default(), &share).await.context("making the share")?;
        match global.output {
            Output::Text => say(&format!(
                "secretshare/{} made; the recipient accepts it with: kubectl keylend accept {}/{} --name {} --environment {} --namespace {}",
                self.name,
                cluster.namespace,
                self.name,
                self.secret.as_str(),
                self.environment,
                self.to_namespace
            )),
            Output::Json => say(&serde_json::to_string(&made)?),
        }?;
        Ok(ExitCode::SUCCESS)
    }

    /// The share as a file for Git holds it: a cluster that does not answer leaves out what it alone knows.
    async fn draft(&self, global: &Global) -> Result<SecretShare> {
        let (namespace, recipient_uid) = match (Cluster::connect(global).await, &global.namespace) {
            (Ok(cluster), _) => {
                let uid = self.recipient_uid(&cluster, global.output).await;
                (cluster.namespace, uid)
            }
            (Err(error), Some(namespace)) => (namespace.clone(), Err(error)),
            (Err(error), None) => return Err(error.context("without a kubeconfig --namespace is needed")),
        };
        let recipient_uid = match recipient_uid {
            Ok(uid) => uid,
            Err(error) => {
                let (name, why) = (&self.to_namespace, sentence(global, &error).await);
                let lacks = format!("the share is printed without the UID of the namespace '{name}'");
                complain(global.output, "warning", &format!("{lacks}, and {PINNED}: {why}"));
                None
            }
        };
        Ok(self.share(&namespace, recipient_uid))
    }

    async fn recipient_uid(&self, cluster: &Cluster, output: Output) -> Result<Option<String>> {
        let name = &self.to_namespace;
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let seen = see(&namespaces, name).await.with_context(|| format!("reading the namespace '{name}'"))?;
        let why = match seen {
            Seen::There(namespace) => return Ok(namespace.uid()),
            Seen::Gone => "is not there",
            Seen::Hidden => "may not be read by you",
        };
        complain(output, "warning", &format!("the namespace '{name}' {why}; {PINNED}"));
        Ok(None)
    }

    fn share(&self, namespace: &str, recipient_uid: Option<String>) -> SecretShare {
        let recipient = NamespaceRecipient {
            name: self.to_namespace.clone(),
            uid: recipient_uid,
            service_accounts: unless_empty(self.service_accounts.clone()),
        };
        let specification = SecretShareSpec {
            secret_ref: SecretReference { name: self.secret.as_str().to_owned() },
            environment: self.environment.as_str().to_owned(),
            access: Some(Access::UseOnly),
            recipient: Recipient { namespace: recipient },
            use_policy: self.policy(),
            expires_at: self.expires_at.or(self.expires_in).map(|end| end.to_string()),
            revoked: None,
        };
        let mut share = SecretShare::new(&self.name, specification);
        share.metadata.namespace = Some(namespace.to_owned());
        share
    }

    fn policy(&self) -> UsePolicy {
        UsePolicy {
            domains: self.domains.clone(),
            ports: unless_empty(self.ports.iter().copied().map(i32::from).collect()),
            networks: unless_empty(self.networks.clone()),
            ca_bundle: self.ca_bundle.clone(),
            inject: Inject { headers: self.headers.iter().map(ToString::to_string).collect() },
        }
    }
}

/// What was left out is left out of the share as well.
fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

impl Revoke {
    async fn run(self, global: &Global) -> Result<ExitCode> {
        let cluster = Cluster::connect(global).await?;
        let shares: Api<SecretShare> = cluster.api();
        let stop = Patch::Merge(json!({"spec": {"revoked": true}}));
        shares.patch(&self.name, &PatchParams::default(), &stop).await.context("stopping the share")?;
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        loop {
            // A share that was deleted meanwhile is stopped too.
            let Some(share) =
                shares.get_opt(&self.name).await.context("waiting until the share is stopped")?
            else {
                break;
            };
            let conditions = share.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
            let stopped = |condition: &keylend_crds::Condition| {
                condition.type_ == ConditionType::Revoked && condition.status == ConditionStatus::True
            };
            if conditions.iter().any(stopped) {
                break;
            }
            if Instant::now() > deadline {
                bail!(
                    "no call begun from now on is injected, but calls that were open may not be over: nothing says so after {} s; is the operator running?",
                    self.timeout
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match global.output {
            Output::Text => say(&format!("secretshare/{} is stopped; nothing more can leave", self.name)),
            Output::Json => say(&json!({"name": self.name, "revoked": true}).to_string()),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    #[test]
    fn a_share_holds_what_was_said_and_nothing_else() {
        let said = "create partner --secret STRIPE_API_KEY --environment production --to-namespace partner \
                    --domain api.example.com";
        let share = |more: &str, uid: Option<&str>| {
            let line = Line::parse_from(said.split_whitespace().chain(more.split_whitespace()));
            serde_json::to_value(line.create.share("payments", uid.map(str::to_owned))).unwrap()
        };
        let mut expected = json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "SecretShare",
            "metadata": {"name": "partner", "namespace": "payments"},
            "spec": {
                "secretRef": {"name": "stripe-api-key"},
                "environment": "production",
                "access": "UseOnly",
                "recipient": {"namespace": {"name": "partner"}},
                "use": {"domains": ["api.example.com"], "inject": {"headers": ["authorization"]}},
            },
        });
        assert_eq!(share("", None), expected);
        let more = "--service-account checkout --port 8443 --network 10.0.0.0/8 --header X-Api-Key \
                    --expires-at 2126-01-01T00:00:00Z";
        expected["spec"]["recipient"]["namespace"] =
            json!({"name": "partner", "uid": "u", "serviceAccounts": ["checkout"]});
        expected["spec"]["use"]["ports"] = json!([8443]);
        expected["spec"]["use"]["networks"] = json!(["10.0.0.0/8"]);
        expected["spec"]["use"]["inject"]["headers"] = json!(["x-api-key"]);
        expected["spec"]["expiresAt"] = json!("2126-01-01T00:00:00Z");
        assert_eq!(share(more, Some("u")), expected);
    }
}
