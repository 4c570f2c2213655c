//! `status`: the chain from a route to its values, and which link of it refuses.

mod accounts;
mod chain;
mod listed;

use std::{fmt::Debug, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use keylend_contract::{name::SecretName, template::Template};
use keylend_crds::{
    Route, Secret, SecretShare,
    secret::{AcceptedShare, ShareReference},
};
use kube::Api;
use serde::de::DeserializeOwned;

use self::{
    accounts::Accounts,
    chain::{Chain, Link},
};
use crate::{
    Global, argument,
    cluster::{Cluster, Seen, see},
};

/// Say what a route's chain looks like, and which link of it refuses
///
/// Follows route, linked secret, share and the owner's secret as far as you may read them. Where the share lists service
/// accounts, those of the namespace's injected pods are held against the list. Exits with 1 if a link refuses. Whether the
/// addresses behind the upstream's name are approved shows in calls alone: it is the pod that resolves the name.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend status stripe --namespace partner
  kubectl keylend status stripe --namespace partner --service-account checkout")]
pub(crate) struct Status {
    /// The route's name.
    #[arg(value_parser = argument::object_name)]
    route: String,
    /// The service account of the pod that is asked about. Left out, those of every injected pod of the namespace are.
    #[arg(long, value_name = "NAME", value_parser = argument::object_name)]
    service_account: Option<String>,
}

/// Whose chain is followed.
struct Asked<'a> {
    cluster: &'a Cluster,
    route: &'a Route,
    accounts: Accounts,
}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let cluster = Cluster::connect(global).await?;
        let routes: Api<Route> = cluster.api();
        let route = &routes.get(&self.route).await.with_context(|| {
            format!("reading Route '{}' of namespace '{}'", self.route, cluster.namespace)
        })?;
        let accounts = match self.service_account {
            Some(account) => Accounts::Seen([account].into()),
            None => accounts::of_injected_pods(&cluster.api()).await.context("listing injected pods")?,
        };
        let asked = Asked { cluster: &cluster, route, accounts };
        let conditions = route.status.as_ref().map(|status| &status.conditions[..]);
        let mut chain = Chain::default();
        chain.push(Link::ready(format!("route {}", self.route), conditions));
        for name in secrets_of(route) {
            asked.follow(&name, &mut chain).await?;
        }
        chain.print(global.output)?;
        Ok(if chain.refuses() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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

impl Asked<'_> {
    async fn follow(&self, name: &SecretName, chain: &mut Chain) -> Result<()> {
        let environment = &self.route.spec.environment;
        let object = format!("secret {}", name.as_str());
        let secrets: Api<Secret> = self.cluster.api();
        let gone = "there is no such Secret in this namespace";
        let secret = match look(&secrets, name.as_str(), &object, gone).await? {
            Ok(secret) => secret,
            Err(unseen) => {
                chain.push(unseen);
                return Ok(());
            }
        };
        let mut links = secret.spec.link.iter().flat_map(|link| &link.shares);
        let Some(link) = links.find(|share| share.environment == *environment) else {
            chain.push(Link::refusing(object, &format!("it links no share for environment '{environment}'")));
            return Ok(());
        };
        let accepted = secret.accepted(link);
        chain.push(Link::linked(object, &secret, link));
        self.follow_share(name, &link.share_ref, accepted, chain).await
    }

    /// A recipient usually may not read the owner's namespace: what cannot be read is hidden, not refused. For whom the
    /// share is, the recipient's secret knows.
    async fn follow_share(
        &self,
        name: &SecretName,
        reference: &ShareReference,
        accepted: Option<&AcceptedShare>,
        chain: &mut Chain,
    ) -> Result<()> {
        let object = format!("share {}/{}", reference.namespace, reference.name);
        let shares: Api<SecretShare> = Api::namespaced(self.cluster.client.clone(), &reference.namespace);
        let share = match look(&shares, &reference.name, &object, "there is no such SecretShare").await? {
            Ok(share) => share,
            Err(unseen) => {
                let listed = accepted.and_then(|accepted| accepted.service_accounts.as_deref());
                chain.push(unseen.for_accounts(listed));
                chain.extend(self.accounts.unlisted(listed, &object));
                return Ok(());
            }
        };
        let permitted = listed::permit(self.route, name, &share.spec.use_policy);
        let listed = share.spec.recipient.namespace.service_accounts.as_deref();
        chain.push(Link::share(object.clone(), permitted, &share).for_accounts(listed));
        chain.extend(self.accounts.unlisted(listed, &object));
        self.follow_value(&share, &reference.namespace, chain).await
    }

    async fn follow_value(&self, share: &SecretShare, owner: &str, chain: &mut Chain) -> Result<()> {
        let name = &share.spec.secret_ref.name;
        let object = format!("secret {owner}/{name}");
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), owner);
        let secret = look(&secrets, name, &object, "there is no such Secret").await?;
        chain.push(match secret {
            Ok(secret) => Link::value(object, &secret, &share.spec.environment),
            Err(unseen) => unseen,
        });
        Ok(())
    }
}

/// What stands under `name`, or else the link that says it is gone, or hidden.
async fn look<K>(api: &Api<K>, name: &str, object: &str, gone: &str) -> Result<Result<K, Link>>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(match see(api, name).await.with_context(|| format!("reading {object}"))? {
        Seen::There(found) => Ok(found),
        Seen::Gone => Err(Link::refusing(object.to_owned(), gone)),
        Seen::Hidden => Err(Link::hidden(object.to_owned(), "you may not read it; ask its owner")),
    })
}
