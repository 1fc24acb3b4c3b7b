//! The way to the API server.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Resource, ResourceExt};
use paddock_crds::{ApiKey, ApiUser, OllamaModel};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use crate::backoff;
use crate::error::{Error, Failure, is_not_found};

const CONNECT: Duration = Duration::from_secs(5);
/// A watch is told something at least every minute, and ends by itself after 290 s.
const READ: Duration = Duration::from_mins(5);
/// Shorter than the time after which an unrenewed lease is given up.
const READ_OF_LEASE: Duration = Duration::from_secs(4);

/// Which cluster to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// The one this pod runs in, by the pod's own service account.
    Pod,
    /// A context of the kubeconfig (`KUBECONFIG`, or the one in the home directory); `None`: its current one.
    Context(Option<String>),
}

/// Who we are to which API server. Fails when there is no kubeconfig, no such context, or we are not in a pod.
pub async fn access(cluster: &Cluster) -> Result<kube::Config, Error> {
    match cluster {
        Cluster::Pod => kube::Config::incluster().map_err(|error| Error::Access(error.to_string())),
        Cluster::Context(context) => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            kube::Config::from_kubeconfig(&options).await.map_err(|error| Error::Access(error.to_string()))
        }
    }
}

/// The name of the context that [`access`] will use, to be shown to whoever started the operator.
pub fn context_name(cluster: &Cluster) -> Result<String, Error> {
    match cluster {
        Cluster::Pod => Ok("the cluster of this pod".to_owned()),
        Cluster::Context(Some(name)) => Ok(name.clone()),
        Cluster::Context(None) => {
            let kubeconfig = Kubeconfig::read().map_err(|error| Error::Access(error.to_string()))?;
            kubeconfig.current_context.ok_or_else(|| Error::Access("the kubeconfig has no current context".to_owned()))
        }
    }
}

/// The client that all controllers share. A request that fails is not repeated here: the object's backoff does that.
pub(crate) fn client(config: &kube::Config) -> Result<Client, Error> {
    build(config.clone(), CONNECT, READ)
}

/// The lease has connections of its own, so that a flood of other requests cannot cost the leadership.
pub(crate) fn lease_client(config: &kube::Config) -> Result<Client, Error> {
    build(config.clone(), READ_OF_LEASE, READ_OF_LEASE)
}

fn build(mut config: kube::Config, connect: Duration, read: Duration) -> Result<Client, Error> {
    config.connect_timeout = Some(connect);
    config.read_timeout = Some(read);
    config.default_retry = false;
    Client::try_from(config).map_err(|error| Error::Access(error.to_string()))
}

/// The cluster's identity: the uid of `kube-system`, which lives as long as the cluster. Asks until the API server answers.
pub(crate) async fn cluster_uid(client: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ask = async || Ok(namespaces.get("kube-system").await?.uid().unwrap_or_default());
    until_ok("the API server", || ask().boxed()).await
}

/// Waits until the API server serves all three kinds.
pub(crate) async fn definitions(client: &Client, namespaces: &[Option<String>]) {
    for namespace in namespaces {
        served::<ApiUser>(client, namespace.as_deref()).await;
        served::<ApiKey>(client, namespace.as_deref()).await;
        served::<OllamaModel>(client, namespace.as_deref()).await;
    }
}

/// The kind in one namespace, or in all.
pub(crate) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn served<K>(client: &Client, namespace: Option<&str>)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = api::<K>(client, namespace);
    let kind = K::plural(&());
    let ask = async || match api.list_metadata(&ListParams::default().limit(1)).await {
        Err(error) if is_not_found(&error) => {
            tracing::warn!(%kind, "the custom resource definition is missing; `paddock crds | kubectl apply -f -` brings it");
            Err(error.into())
        }
        answer => Ok(answer.map(|_| ())?),
    };
    until_ok(&kind, || ask().boxed()).await;
}

/// Tries until it succeeds, with growing waits.
async fn until_ok<'a, T>(what: &str, attempt: impl Fn() -> BoxFuture<'a, Result<T, Failure>>) -> T {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(answer) => return answer,
            Err(error) => {
                tracing::warn!(%error, "waiting for {what}");
                tokio::time::sleep(backoff::after(failures, what)).await;
                failures += 1;
            }
        }
    }
}
