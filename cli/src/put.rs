//! `put`: seals a value, hands it to the API server, and returns when it is live.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use keylend_contract::{blob::BlobDigest, environment::Environment, name::SecretName};
use keylend_crds::{
    Secret,
    condition::{ConditionStatus, ConditionType},
    secret::{EnvironmentValue, Sealed, SecretSpec, SecretType},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{Global, Output, argument, cluster::Cluster, report::say, seal, value::Source};

const FIELD_MANAGER: &str = "kubectl-keylend";
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Seal a value and make it live; prints its version
///
/// When this returns, the very next call of everyone the secret is shared with carries the new value.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend put stripe-api-key --namespace payments                       # asks for the value
  pass show stripe | kubectl keylend put stripe-api-key --namespace payments --environment production
  kubectl keylend put stripe-api-key --create --environment production --from-file value.txt")]
pub(crate) struct Put {
    /// The secret's name.
    name: SecretName,
    /// The environment; the secret's base environment where it is left out.
    #[arg(long, short)]
    environment: Option<Environment>,
    /// Make the secret if there is none; needs --environment.
    #[arg(long, requires = "environment")]
    create: bool,
    /// How long to wait until the value is live, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = argument::seconds)]
    timeout: u64,
    #[command(flatten)]
    source: Source,
}

impl Put {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let cluster = Cluster::connect(global).await?;
        let secrets: Api<Secret> = cluster.api();
        let secret = self.secret(&secrets, &cluster.namespace).await?;
        let environment = self.environment_of(&secret)?;
        let keys = cluster.sealing_keys().await?;
        let value = self.source.read()?;
        // Later than the live value's, whichever clock that came from: an older blob is not taken in.
        let live =
            secret.resting(&environment).map_or(0, |field| u64::try_from(field.sealed_at_ms).unwrap_or(0));
        let stamp = seal::now_ms()?.max(live + 1);
        let scope = seal::scope(&cluster.namespace, self.name.as_str(), &environment);
        let blob = keys.primary()?.seal(&scope, &value, stamp)?;
        drop(value);
        let sealed = Some(Sealed { value: blob.to_string() });
        let patch = self.string(None, EnvironmentValue { name: environment.clone(), sealed });
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let patched = secrets
            .patch(self.name.as_str(), &apply, &Patch::Apply(patch))
            .await
            .context("setting the value")?;
        let generation = patched.metadata.generation.unwrap_or(0);
        let version = self.wait_until_live(&secrets, &environment, &blob.digest(), generation).await?;
        self.print(global.output, &environment, version)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn secret(&self, secrets: &Api<Secret>, namespace: &str) -> Result<Secret> {
        let name = self.name.as_str();
        let there = secrets.get_opt(name).await.context("reading the secret")?;
        let secret = match (there, &self.environment) {
            (Some(secret), _) => secret,
            (None, Some(environment)) if self.create => {
                let environment = environment.as_str().to_owned();
                let empty = EnvironmentValue { name: environment.clone(), sealed: None };
                let fresh = self.string(Some(environment), empty);
                secrets.create(&PostParams::default(), &fresh).await.context("making the secret")?
            }
            (None, environment) => {
                let environment = environment.as_ref().map_or("ENVIRONMENT", Environment::as_str);
                bail!(
                    "there is no Secret '{name}' in namespace '{namespace}'; apply one, or add --create --environment {environment}"
                )
            }
        };
        match secret.spec.type_ {
            SecretType::String => Ok(secret),
            SecretType::Linked => {
                bail!("Secret '{name}' is a link and holds no value; its owner sets the value")
            }
        }
    }

    fn string(&self, base_environment: Option<String>, environment: EnvironmentValue) -> Secret {
        let environments = Some(vec![environment]);
        let specification =
            SecretSpec { type_: SecretType::String, base_environment, environments, link: None };
        Secret::new(self.name.as_str(), specification)
    }

    fn environment_of(&self, secret: &Secret) -> Result<String> {
        let named = self.environment.as_ref().map(|environment| environment.as_str().to_owned());
        named
            .or_else(|| secret.spec.base_environment.clone())
            .context("name the environment with --environment; the secret has no base environment")
    }

    /// Waits until our blob, or one that was put after it, is live.
    async fn wait_until_live(
        &self,
        secrets: &Api<Secret>,
        environment: &str,
        digest: &BlobDigest,
        generation: i64,
    ) -> Result<i64> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        loop {
            let secret = secrets.get(self.name.as_str()).await.context("waiting until the value is live")?;
            if let Some(field) = secret.resting(environment).filter(|field| field.digests.contains(digest)) {
                return Ok(field.version);
            }
            let complaint = complaint(&secret, generation);
            if let Some(complaint) = &complaint {
                bail!("the value is not live: {complaint}");
            }
            if Instant::now() > deadline {
                bail!(
                    "the value is not live after {} s; is the operator running? It will be taken in when it does",
                    self.timeout
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn print(&self, output: Output, environment: &str, version: i64) -> Result<()> {
        let name = self.name.as_str();
        match output {
            Output::Text => say(&format!("{name} ({environment}) is live as version {version}")),
            Output::Json => {
                say(&json!({"name": name, "environment": environment, "version": version}).to_string())
            }
        }
    }
}

/// Why the operator did not take in what this generation holds, once it has looked at it.
fn complaint(secret: &Secret, generation: i64) -> Option<String> {
    let conditions = &secret.status.as_ref()?.conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == ConditionType::Ready)?;
    let looked = ready.observed_generation >= generation;
    (looked && ready.status == ConditionStatus::False).then(|| ready.message.clone())
}
