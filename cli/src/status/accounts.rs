//! Whose calls are asked about: the service accounts of pods, held against those that a share lists.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

use super::chain::Link;

const INJECTED: &str = "keylend.dev/injected=true";
/// A pod that has ended calls no more.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// The service accounts that are asked about.
pub(super) enum Accounts {
    Seen(BTreeSet<String>),
    /// Their reader may not list pods.
    Hidden,
}

/// Those of the injected pods that `pods` lists.
///
/// # Errors
/// Whatever else went wrong than that they may not be listed.
pub(super) async fn of_injected_pods(pods: &Api<Pod>) -> kube::Result<Accounts> {
    match pods.list(&ListParams::default().labels(INJECTED).fields(NOT_ENDED)).await {
        Ok(listed) => {
            let accounts = listed.items.into_iter().filter_map(|pod| pod.spec?.service_account_name);
            Ok(Accounts::Seen(accounts.collect()))
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Accounts::Hidden),
        Err(error) => Err(error),
    }
}

impl Accounts {
    /// A link for each that `share` does not list; none where it lists nobody, as it is for everybody then.
    pub(super) fn unlisted(&self, listed: Option<&[String]>, share: &str) -> Vec<Link> {
        let Some(listed) = listed else { return vec![] };
        match self {
            Self::Seen(accounts) => accounts
                .iter()
                .filter(|account| !listed.contains(account))
                .map(|account| {
                    let message = format!("secret_unknown: {share} does not list it");
                    Link::refusing(format!("service account {account}"), &message)
                })
                .collect(),
            Self::Hidden => {
                let why = "you may not list them; ask about one with --service-account";
                vec![Link::hidden("injected pods".to_owned(), why)]
            }
        }
    }
}
