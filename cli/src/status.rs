//! `status`: the chain from a route to its values, and which link of it refuses.

mod listed;

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use keylend_contract::{name::SecretName, template::Template};
use keylend_crds::{
    Condition, Route, Secret, SecretShare,
    condition::{ConditionStatus, ConditionType},
    secret::ShareReference,
};
use kube::Api;
use serde_json::json;

use crate::{
    Global, Output, argument,
    cluster::{Cluster, Seen, see},
    report::say,
};

/// Say what a route's chain looks like, and which link of it refuses
///
/// Follows route, linked secret, share and the owner's secret as far as you may read them. Exits with 1 if a link refuses.
/// What depends on the pod or on the moment shows in its calls alone: a service account that the share does not list, an
/// address that is not approved, a key that is gone.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend status stripe --namespace partner")]
pub(crate) struct Status {
    /// The route's name.
    #[arg(value_parser = argument::object_name)]
    route: String,
}

/// One link of the chain.
struct Link {
    object: String,
    standing: Standing,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Permits,
    Refuses,
    Hidden,
}

impl Link {
    /// Says whose pods the share is for; all of the namespace where none are listed.
    fn for_accounts(mut self, accounts: Option<&Vec<String>>) -> Self {
        if let Some(accounts) = accounts {
            let _ = write!(self.message, "; for the service accounts {}", accounts.join(", "));
        }
        self
    }
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Self::Permits => "permits",
            Self::Refuses => "refuses",
            Self::Hidden => "hidden",
        }
    }
}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let cluster = Cluster::connect(global).await?;
        let routes: Api<Route> = cluster.api();
        let route = routes.get(&self.route).await.with_context(|| {
            format!("reading Route '{}' of namespace '{}'", self.route, cluster.namespace)
        })?;
        let conditions = route.status.as_ref().map(|status| &status.conditions[..]);
        let mut chain = vec![link(format!("route {}", self.route), conditions)];
        for name in secrets_of(&route) {
            follow(&cluster, &route, &name, &mut chain).await?;
        }
        print(&chain, global.output)?;
        let refused = chain.iter().any(|link| link.standing == Standing::Refuses);
        Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The secrets a route names, each once; a template that does not parse is the route's own complaint already.
fn secrets_of(route: &Route) -> Vec<SecretName> {
    let mut names: Vec<SecretName> = Vec::new();
    for header in &route.spec.headers {
        let Ok(template) = header.value.parse::<Template>() else { continue };
        for name in template.secrets() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

async fn follow(cluster: &Cluster, route: &Route, name: &SecretName, chain: &mut Vec<Link>) -> Result<()> {
    let environment = &route.spec.environment;
    let object = format!("secret {}", name.as_str());
    let secrets: Api<Secret> = cluster.api();
    let seen = see(&secrets, name.as_str()).await.with_context(|| format!("reading {object}"))?;
    let Some(secret) = there(seen, &object, "there is no such Secret in this namespace", chain) else {
        return Ok(());
    };
    chain.push(link(object.clone(), secret.status.as_ref().map(|status| &status.conditions[..])));
    let shares = secret.spec.link.iter().flat_map(|link| &link.shares);
    let Some(linked) = shares.into_iter().find(|share| share.environment == *environment) else {
        chain.push(refusing(object, &format!("it links no share for environment '{environment}'")));
        return Ok(());
    };
    follow_share(cluster, (route, name), &linked.share_ref, chain).await
}

/// What was seen, if the chain goes on from it; otherwise `object` is its last link.
fn there<K>(seen: Seen<K>, object: &str, gone: &str, chain: &mut Vec<Link>) -> Option<K> {
    match seen {
        Seen::There(found) => return Some(found),
        Seen::Gone => chain.push(refusing(object.to_owned(), gone)),
        Seen::Hidden => chain.push(hidden(object.to_owned())),
    }
    None
}

/// A recipient usually may not read the owner's namespace: what cannot be read is hidden, not refused.
async fn follow_share(
    cluster: &Cluster,
    (route, name): (&Route, &SecretName),
    reference: &ShareReference,
    chain: &mut Vec<Link>,
) -> Result<()> {
    let object = format!("share {}/{}", reference.namespace, reference.name);
    let shares: Api<SecretShare> = Api::namespaced(cluster.client.clone(), &reference.namespace);
    let seen = see(&shares, &reference.name).await.with_context(|| format!("reading {object}"))?;
    let Some(share) = there(seen, &object, "there is no such SecretShare", chain) else { return Ok(()) };
    let conditions = share.status.as_ref().map(|status| &status.conditions[..]);
    let ready = link(object.clone(), conditions);
    chain.push(match listed::permit(route, name, &share.spec.use_policy) {
        Err(refusal) if ready.standing == Standing::Permits => {
            refusing(object, &format!("{}: {refusal}", refusal.code()))
        }
        Ok(()) | Err(_) => ready.for_accounts(share.spec.recipient.namespace.service_accounts.as_ref()),
    });
    let object = format!("secret {}/{}", reference.namespace, share.spec.secret_ref.name);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &reference.namespace);
    let secret = see(&secrets, &share.spec.secret_ref.name).await;
    chain.push(match secret.with_context(|| format!("reading {object}"))? {
        Seen::There(secret) => link(object, secret.status.as_ref().map(|status| &status.conditions[..])),
        Seen::Gone => refusing(object, "there is no such Secret"),
        Seen::Hidden => hidden(object),
    });
    Ok(())
}

fn link(object: String, conditions: Option<&[Condition]>) -> Link {
    let ready =
        conditions.unwrap_or_default().iter().find(|condition| condition.type_ == ConditionType::Ready);
    let Some(ready) = ready else {
        return refusing(object, "the operator has not looked at it yet; is it running?");
    };
    let standing = if ready.status == ConditionStatus::True { Standing::Permits } else { Standing::Refuses };
    Link { object, standing, message: format!("{:?}: {}", ready.reason, ready.message) }
}

fn refusing(object: String, message: &str) -> Link {
    Link { object, standing: Standing::Refuses, message: message.to_owned() }
}

fn hidden(object: String) -> Link {
    Link { object, standing: Standing::Hidden, message: "you may not read it; ask its owner".to_owned() }
}

fn print(chain: &[Link], output: Output) -> Result<()> {
    match output {
        Output::Text => {
            let width = chain.iter().map(|link| link.object.len()).max().unwrap_or(0);
            for link in chain {
                say(&format!("{:8}{:width$}  {}", link.standing.word(), link.object, link.message))?;
            }
        }
        Output::Json => {
            let links: Vec<_> = chain
                .iter()
                .map(|link| json!({"object": link.object, "standing": link.standing.word(), "message": link.message}))
                .collect();
            say(&json!(links).to_string())?;
        }
    }
    Ok(())
}
