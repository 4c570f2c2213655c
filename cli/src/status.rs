//! `status`: the chain from a route to its values, and which link of it refuses.

mod link;
mod listed;

use std::{collections::BTreeSet, fmt::Debug, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use keylend_contract::{name::SecretName, template::Template};
use keylend_crds::{
    Route, Secret, SecretShare,
    secret::{AcceptedShare, ShareReference},
};
use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::json;

use self::link::{Link, Standing};
use crate::{
    Global, Output, argument,
    cluster::{Cluster, Seen, see},
    report::{one_line, say},
};

const INJECTED: &str = "keylend.dev/injected=true";
const SIDECAR: &str = "keylend-sidecar";
/// A pod that has ended calls no more.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Say what a route's chain looks like, and which link of it refuses
///
/// Follows route, linked secret, share and the owner's secret as far as you may read them. Where the share lists service
/// accounts, those of the namespace's injected pods are held against the list. Exits with 1 if a link refuses. Of the
/// upstream, only its name and port are looked at: whether its addresses are approved and its certificate is trusted shows
/// in calls.
#[derive(Args)]
#[command(after_help = "Examples:
  kubectl keylend status stripe --namespace partner
  kubectl keylend status stripe --namespace partner --service-account checkout")]
pub(crate) struct Status {
    /// The route's name.
    #[arg(value_parser = argument::object_name)]
    route: String,
    /// Ask for pods of this service account. Left out, for every injected pod of the namespace.
    #[arg(long, value_name = "NAME", value_parser = argument::object_name)]
    service_account: Option<String>,
}

/// What is asked: a route, and for whom.
struct Asked<'a> {
    cluster: &'a Cluster,
    route: &'a Route,
    service_account: Option<String>,
}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode> {
        let cluster = Cluster::connect(global).await?;
        let routes: Api<Route> = cluster.api();
        let route = &routes.get(&self.route).await.with_context(|| {
            format!("reading Route '{}' of namespace '{}'", self.route, cluster.namespace)
        })?;
        let asked = Asked { cluster: &cluster, route, service_account: self.service_account };
        let mut chain = vec![Link::route(route)];
        for name in secrets_of(route) {
            chain.extend(asked.follow(&name).await?);
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

impl Asked<'_> {
    async fn follow(&self, name: &SecretName) -> Result<Vec<Link>> {
        let environment = &self.route.spec.environment;
        let object = format!("secret {}", name.as_str());
        let secrets: Api<Secret> = self.cluster.api();
        let gone = "there is no such Secret in this namespace";
        let secret = match look(&secrets, name.as_str(), &object, gone).await? {
            Ok(secret) => secret,
            Err(unseen) => return Ok(vec![unseen]),
        };
        let mut links = secret.spec.link.iter().flat_map(|link| &link.shares);
        let Some(link) = links.find(|share| share.environment == *environment) else {
            return Ok(vec![Link::refusing(
                object,
                &format!("it links no share for environment '{environment}'"),
            )]);
        };
        let accepted = secret.accepted(link);
        let mut chain = vec![Link::linked(object, &secret, link)];
        chain.extend(self.follow_share(name, &link.share_ref, accepted).await?);
        Ok(chain)
    }

    /// A recipient usually may not read the owner's namespace: what cannot be read is hidden, not refused. For whom the
    /// share is, the recipient's secret knows.
    async fn follow_share(
        &self,
        name: &SecretName,
        reference: &ShareReference,
        accepted: Option<&AcceptedShare>,
    ) -> Result<Vec<Link>> {
        let object = format!("share {}/{}", reference.namespace, reference.name);
        let shares: Api<SecretShare> = Api::namespaced(self.cluster.client.clone(), &reference.namespace);
        let share = match look(&shares, &reference.name, &object, "there is no such SecretShare").await? {
            Ok(share) => share,
            Err(unseen) => {
                let listed = accepted.and_then(|accepted| accepted.service_accounts.as_deref());
                let unlisted = self.unlisted(listed, &object).await?;
                return Ok([vec![unseen.for_accounts(listed)], unlisted].concat());
            }
        };
        let listed = share.spec.recipient.namespace.service_accounts.as_deref();
        let unlisted = self.unlisted(listed, &object).await?;
        let permitted = listed::permit(self.route, name, &share.spec.use_policy);
        let link = Link::share(object, permitted, &share).for_accounts(listed);
        let value = self.follow_value(&share, &reference.namespace).await?;
        Ok([vec![link], unlisted, vec![value]].concat())
    }

    /// A link for each service account that is asked about and not `listed`. Where no list is, the share is for all.
    async fn unlisted(&self, listed: Option<&[String]>, share: &str) -> Result<Vec<Link>> {
        let Some(listed) = listed else { return Ok(vec![]) };
        let asked = match &self.service_account {
            Some(account) => Some([account.clone()].into()),
            None => accounts_of_injected_pods(&self.cluster.api()).await.context("listing injected pods")?,
        };
        let Some(asked) = asked else {
            let why = "you may not list them; ask about one with --service-account";
            return Ok(vec![Link::hidden("injected pods".to_owned(), why)]);
        };
        let unlisted = asked.into_iter().filter(|account| !listed.contains(account));
        let message = format!("secret_unknown: {share} does not list it");
        Ok(unlisted.map(|account| Link::refusing(format!("service account {account}"), &message)).collect())
    }

    async fn follow_value(&self, share: &SecretShare, owner: &str) -> Result<Link> {
        let name = &share.spec.secret_ref.name;
        let object = format!("secret {owner}/{name}");
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), owner);
        let secret = look(&secrets, name, &object, "there is no such Secret").await?;
        Ok(secret
            .map_or_else(|unseen| unseen, |secret| Link::value(object, &secret, &share.spec.environment)))
    }
}

/// The service accounts of the injected pods that `pods` lists; nothing if their reader may not list them.
async fn accounts_of_injected_pods(pods: &Api<Pod>) -> kube::Result<Option<BTreeSet<String>>> {
    match pods.list(&ListParams::default().labels(INJECTED).fields(NOT_ENDED)).await {
        Ok(listed) => {
            let pods = listed.items.into_iter().filter_map(|pod| pod.spec);
            let injected = pods.filter(|pod| {
                pod.init_containers.iter().flatten().any(|container| container.name == SIDECAR)
            });
            Ok(Some(injected.filter_map(|pod| pod.service_account_name).collect()))
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(error) => Err(error),
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

fn print(chain: &[Link], output: Output) -> Result<()> {
    match output {
        Output::Text => {
            let width = chain.iter().map(|link| link.object.len()).max().unwrap_or(0);
            for link in chain {
                let message = one_line(&link.message);
                say(&format!("{:8}{:width$}  {message}", link.standing.word(), link.object))?;
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
