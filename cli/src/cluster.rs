//! The cluster a command speaks to, with its user's own rights.

use std::fmt::Debug;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use keylend_contract::sealing_key::SealingKeys;
use kube::{
    Api, Client, Config, Resource,
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};

use crate::Global;

/// Where the operator is.
pub(crate) const OPERATOR_NAMESPACE: &str = "keylend-system";
const SEALING_KEYS: &str = "keylend-sealing-keys";
const KEYS_ENTRY: &str = "keys.json";

/// A connection, and the namespace that is meant.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    /// Connects as the kubeconfig says.
    pub(crate) async fn connect(global: &Global) -> Result<Self> {
        let config = config(global).await?;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("connecting to the API server")?;
        Ok(Self { client, namespace })
    }

    /// Objects of one kind in the namespace that is meant.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The operator's public sealing keys.
    pub(crate) async fn sealing_keys(&self) -> Result<SealingKeys> {
        let keys = format!("the sealing keys {OPERATOR_NAMESPACE}/{SEALING_KEYS}");
        let published: Api<ConfigMap> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let published = match see(&published, SEALING_KEYS)
            .await
            .with_context(|| format!("reading {keys}"))?
        {
            Seen::There(published) => published,
            Seen::Gone => bail!("{keys} are not there; is Keylend installed?"),
            Seen::Hidden => bail!("you may not read {keys}; an administrator grants that to whoever seals"),
        };
        let keys = published
            .data
            .as_ref()
            .and_then(|data| data.get(KEYS_ENTRY))
            .context("the sealing keys are not published yet")?;
        parse_keys(keys)
    }
}

/// What a look at one object came to.
pub(crate) enum Seen<K> {
    There(K),
    Gone,
    /// Its reader may not read it.
    Hidden,
}

/// Looks at one object.
///
/// # Errors
/// Whatever else went wrong than that it is not there or may not be read.
pub(crate) async fn see<K: Clone + serde::de::DeserializeOwned + Debug>(
    api: &Api<K>,
    name: &str,
) -> kube::Result<Seen<K>> {
    match api.get(name).await {
        Ok(object) => Ok(Seen::There(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Seen::Gone),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Seen::Hidden),
        Err(error) => Err(error),
    }
}

/// Where the API server is, for a sentence about it: without what else an address can hold.
pub(crate) async fn server(global: &Global) -> Option<String> {
    let address = config(global).await.ok()?.cluster_url;
    let port = address.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", address.scheme_str()?, address.host()?))
}

async fn config(global: &Global) -> Result<Config> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    // Left out, KUBECONFIG says which files: a list of them is merged, an empty one is none.
    match &global.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).context("reading the kubeconfig")?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("reading the kubeconfig")
        }
        None if global.context.is_some() => {
            Config::from_kubeconfig(&options).await.context("reading the kubeconfig")
        }
        None => Config::infer().await.context("finding a kubeconfig, which --kubeconfig or KUBECONFIG names"),
    }
}

/// Reads sealing keys as they are published or were saved.
pub(crate) fn parse_keys(text: &str) -> Result<SealingKeys> {
    serde_json::from_str(text).ok().context("these are not sealing keys; fetch them with 'kubectl get configmap keylend-sealing-keys --namespace keylend-system --output \"jsonpath={.data.keys\\.json}\"'")
}
