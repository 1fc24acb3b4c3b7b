//! Clients of the Kubernetes API server, and the start-up checks against it.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt, api::ListParams, client::ClientBuilder, config::KubeConfigOptions,
    core::NamespaceResourceScope,
};
use paddock_crds::{ApiKey, ApiUser, OllamaModel};
use paddock_store::error_chain;
use serde::de::DeserializeOwned;
use tower::util::MapResponseLayer;

use crate::{
    access, backoff,
    error::{Error, is_not_found},
    readiness::Readiness,
    watch_activity::{ObserveWatches, WatchActivity},
};

/// The `ClusterRole` that identifies the cluster.
const CLUSTER_ROLE: &str = "paddock-operator-cluster";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the 30 s that an admission webhook may take.
const READ_TIMEOUT: Duration = Duration::from_secs(35);
/// Longer than a watch is silent: it receives a bookmark every minute. A watch that is silent for
/// longer is opened anew, on another connection.
const WATCH_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// Shorter than the 10 s after which the leader gives up a lease that it could not renew.
const LEASE_TIMEOUT: Duration = Duration::from_secs(4);

/// The cluster to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// The cluster that this pod runs in, with the pod's service account.
    Pod,
    /// A context of the kubeconfig (`KUBECONFIG`, or the file in the home directory). `None` is the
    /// current context.
    Context(Option<String>),
}

/// Loads the address and credentials of the cluster's API server. Fails if there is no kubeconfig,
/// if it has no such context, or if the process does not run in a pod.
pub async fn load_kube_config(cluster: &Cluster) -> Result<kube::Config, Error> {
    match cluster {
        Cluster::Pod => kube::Config::incluster().map_err(|error| Error::KubeConfig(error.to_string())),
        Cluster::Context(context) => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            kube::Config::from_kubeconfig(&options).await.map_err(|error| Error::KubeConfig(error.to_string()))
        }
    }
}

/// Builds the client that all reconcilers share. It does not retry: a failed request fails the
/// reconcile, and the object's backoff applies.
pub(crate) fn build_client(config: &kube::Config) -> Result<Client, Error> {
    let config = configure(config.clone(), CONNECT_TIMEOUT, READ_TIMEOUT);
    Client::try_from(config).map_err(|error| Error::KubeConfig(error.to_string()))
}

/// Builds the client of the watches, which observes when each of them last received something.
pub(crate) fn build_watch_client(config: &kube::Config, activity: &WatchActivity) -> Result<Client, Error> {
    let config = configure(config.clone(), CONNECT_TIMEOUT, WATCH_READ_TIMEOUT);
    let builder = ClientBuilder::try_from(config).map_err(|error| Error::KubeConfig(error.to_string()))?;
    Ok(builder.with_layer(&ObserveWatches(activity.clone())).build())
}

/// Builds the client of the leader lease. It has its own connections, so that other requests cannot
/// delay a renewal.
pub(crate) fn build_lease_client(config: &kube::Config, last: &LastAnswer) -> Result<Client, Error> {
    let config = configure(config.clone(), LEASE_TIMEOUT, LEASE_TIMEOUT);
    let builder = ClientBuilder::try_from(config).map_err(|error| Error::KubeConfig(error.to_string()))?;
    Ok(builder.with_layer(&MapResponseLayer::new(last.observer())).build())
}

/// Whether the last answer to a client was 403. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastAnswer(Arc<AtomicBool>);

impl LastAnswer {
    pub(crate) fn is_forbidden(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn observer<B>(&self) -> impl FnOnce(Response<B>) -> Response<B> + Clone + use<B> {
        let is_forbidden = Arc::clone(&self.0);
        move |response| {
            is_forbidden.store(response.status() == StatusCode::FORBIDDEN, Ordering::Relaxed);
            response
        }
    }
}

fn configure(mut config: kube::Config, connect: Duration, read: Duration) -> kube::Config {
    config.connect_timeout = Some(connect);
    config.read_timeout = Some(read);
    config.default_retry = false;
    config
}

/// Fetches the UID of the namespace `kube-system`, which identifies the cluster. Retries until the
/// API server answers; `readiness` has the reason if it forbids that.
pub(crate) async fn fetch_cluster_uid(client: &Client, readiness: &Readiness) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let fetch = async || match namespaces.get("kube-system").await {
        Ok(namespace) => Ok(namespace.uid().unwrap_or_default()),
        Err(error) => {
            let missing = access::forbidden(&error).map(|status| access::describe(status, CLUSTER_ROLE, None));
            if let Some(missing) = &missing {
                tracing::error!(error = missing, "a right is missing");
            }
            readiness.set_obstacle(missing);
            Err(error)
        }
    };
    let uid = retry_until_ok("the API server", || fetch().boxed()).await;
    readiness.set_obstacle(None);
    uid
}

/// Waits until the API server serves all three kinds. A namespace in which the operator may not
/// list them does not hold up the start: its watches report what is missing.
pub(crate) async fn wait_for_definitions(client: &Client, namespaces: &[Option<String>]) {
    for namespace in namespaces {
        wait_for_definition::<ApiUser>(client, namespace.as_deref()).await;
        wait_for_definition::<ApiKey>(client, namespace.as_deref()).await;
        wait_for_definition::<OllamaModel>(client, namespace.as_deref()).await;
    }
}

/// Returns the API of a kind in one namespace, or in all.
pub(crate) fn api_in<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn wait_for_definition<K>(client: &Client, namespace: Option<&str>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = api_in::<K>(client, namespace);
    let kind = K::plural(&());
    let list = async || match api.list_metadata(&ListParams::default().limit(1)).await {
        Err(error) if is_not_found(&error) => {
            tracing::warn!(
                %kind,
                "the custom resource definition is missing; install it with `paddock crds | kubectl apply -f -`"
            );
            Err(error)
        }
        Err(error) if access::forbidden(&error).is_some() => Ok(()),
        result => result.map(|_| ()),
    };
    retry_until_ok(&kind, || list().boxed()).await;
}

/// Retries with backoff until the attempt succeeds.
async fn retry_until_ok<'a, T>(what: &str, attempt: impl Fn() -> BoxFuture<'a, Result<T, kube::Error>>) -> T {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), waiting_for = what, "Kubernetes is not ready; retrying");
                tokio::time::sleep(backoff::delay_after(failures, what, 1)).await;
                failures += 1;
            }
        }
    }
}
