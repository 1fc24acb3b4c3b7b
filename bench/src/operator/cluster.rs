//! A control plane, a database, and an operator that is not part of the measurement's process.

use std::{
    collections::HashMap,
    fmt::Debug,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt as _, watcher},
};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _};
use paddock_tests::{
    database::Database,
    eventually::eventually,
    kubernetes::Kubernetes,
    paddock::{Launch, Paddock},
    postgres::{Durability, Postgres},
    process::run,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::AbortHandle,
};

/// How many requests create objects at a time.
const CREATORS: usize = 16;
/// The longest time that the operator may take for what is measured.
const TIMEOUT: Duration = Duration::from_mins(15);
/// How often a wait looks whether the operator still runs.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The verbs that change something.
const WRITE_VERBS: [&str; 5] = ["APPLY", "DELETE", "PATCH", "POST", "PUT"];
/// What the operator writes, but for its lease.
const WRITTEN: [&str; 5] = ["apiusers", "apikeys", "ollamamodels", "secrets", "events"];

pub(super) struct Cluster {
    _kubernetes: Kubernetes,
    _postgres: Postgres,
    pub(super) client: Client,
    /// The namespace that the operator watches.
    pub(super) namespace: String,
    /// Another one, for the writes without logic.
    pub(super) unwatched: String,
    kubeconfig: String,
    pub(super) database: Database,
}

impl Cluster {
    pub(super) async fn start() -> Result<Self> {
        let (kubernetes, postgres) = tokio::try_join!(Kubernetes::start(), Postgres::start(Durability::Full))?;
        let client = kubernetes.client().await?;
        let (namespace, unwatched) = (kubernetes.namespace().await?, kubernetes.namespace().await?);
        let kubeconfig = kubernetes.service_account(&namespace, "operator").await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        let binding = json!({
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
        });
        bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
        let database = Database::open(&postgres.empty_database().await?)?;
        let kubeconfig = kubeconfig.display().to_string();
        let cluster =
            Self { _kubernetes: kubernetes, _postgres: postgres, client, namespace, unwatched, kubeconfig, database };
        run(&mut cluster.launch()?.command(&["migrate"])?)?;
        Ok(cluster)
    }

    pub(super) fn launch(&self) -> Result<Launch> {
        Ok(Launch::new(&["operator", "--context", paddock_tests::kubernetes::CONTEXT], self.database.url())?
            .ollama("http://127.0.0.1:1")
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PUBLIC_URL", "http://paddock.bench:8080")
            .env("WATCH_NAMESPACES", &self.namespace)
            .env("LEASE_NAMESPACE", &self.namespace)
            .env("LEASE_IDENTITY", "the-operator")
            .env("LOG_LEVEL", "warn"))
    }

    /// Creates these users and waits for nothing.
    pub(super) async fn create_users(&self, name: &str, count: usize) -> Result<()> {
        let api: Api<ApiUser> = Api::namespaced(self.client.clone(), &self.namespace);
        let objects = (0..count).map(|n| {
            let spec = json!({"email": format!("{name}-{n}@example.com")});
            json!({"apiVersion": "paddock.dev/v1alpha1", "kind": "ApiUser", "metadata": {"name": format!("{name}-{n}")}, "spec": spec})
        });
        create(&api, objects).await?;
        Ok(())
    }

    /// Creates keys of the users `<user>-0`, `<user>-1` and so on. Returns when each creation began.
    pub(super) async fn create_keys(
        &self,
        name: &str,
        count: usize,
        user: &str,
        users: usize,
    ) -> Result<HashMap<String, Instant>> {
        let api: Api<ApiKey> = Api::namespaced(self.client.clone(), &self.namespace);
        let objects = (0..count).map(|n| {
            let spec = json!({"userRef": {"name": format!("{user}-{}", n % users)}});
            json!({"apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": format!("{name}-{n}")}, "spec": spec})
        });
        create(&api, objects).await
    }

    /// Watches which keys become Ready.
    pub(super) fn watch_ready(&self) -> ReadyKeys {
        let api: Api<ApiKey> = Api::namespaced(self.client.clone(), &self.namespace);
        let (sender, names) = unbounded_channel();
        let watch = tokio::spawn(async move {
            let keys = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            let _ = keys
                .try_for_each(async |key: ApiKey| {
                    let ready = key.status.as_ref().and_then(|status| status.condition("Ready"));
                    let is_current = ready.is_some_and(|ready| ready.observed_generation == key.metadata.generation);
                    if is_current && ready.is_some_and(|ready| ready.status == "True") {
                        let _ = sender.send((key.name_any(), Instant::now()));
                    }
                    Ok(())
                })
                .await;
        });
        ReadyKeys { names, watch: watch.abort_handle() }
    }

    /// The number of requests that have changed what the operator writes.
    pub(super) async fn api_writes(&self) -> Result<u64> {
        let metrics = self.client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        let is_write = |line: &str| {
            line.starts_with("apiserver_request_total{")
                && WRITTEN.iter().any(|resource| line.contains(&format!(",resource=\"{resource}\"")))
                && !line.contains("dry_run=\"All\"")
                && WRITE_VERBS.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        };
        let values = metrics.lines().filter(|line| is_write(line)).filter_map(value_of);
        Ok(values.sum())
    }

    /// The number of rows that the operator's database has inserted, updated and deleted.
    pub(super) async fn database_writes(&self) -> Result<u64> {
        let query = "SELECT (sum(n_tup_ins + n_tup_upd + n_tup_del))::text FROM pg_stat_user_tables";
        let [count] = &self.database.texts(query).await?[..] else { bail!("no count") };
        Ok(count.parse()?)
    }

    /// The number of reconciles of the process so far.
    pub(super) async fn reconciles(&self, operator: &Paddock) -> Result<u64> {
        let response = reqwest::get(format!("{}/metrics", operator.metrics_url())).await?;
        let text = response.text().await?;
        Ok(text.lines().filter(|line| line.starts_with("paddock_reconcile_total{")).filter_map(value_of).sum())
    }

    /// Waits until nothing has been written for this time.
    pub(super) async fn wait_until_quiet(&self, quiet: Duration) -> Result<()> {
        let (mut last, mut since) = (self.api_writes().await?, Instant::now());
        eventually("no writes", TIMEOUT, async || {
            let present = self.api_writes().await?;
            if present != last {
                (last, since) = (present, Instant::now());
            }
            ensure!(since.elapsed() >= quiet, "{last} writes");
            Ok(())
        })
        .await
    }

    /// Deletes every object of a kind and waits until they are gone.
    pub(super) async fn delete_all<K>(&self, namespace: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let _ = api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        eventually("the objects to go", TIMEOUT, async || {
            let left = api.list_metadata(&ListParams::default().limit(1)).await?.items.len();
            ensure!(left == 0, "some are left");
            Ok(())
        })
        .await
    }
}

/// The number at the end of a line of metrics.
fn value_of(line: &str) -> Option<u64> {
    let value: f64 = line.split_whitespace().next_back()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter below 2^52")]
    Some(value as u64)
}

/// Creates the objects, and returns when each creation began.
async fn create<K>(api: &Api<K>, objects: impl Iterator<Item = serde_json::Value>) -> Result<HashMap<String, Instant>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let creations = objects.map(async |object| {
        let object: K = serde_json::from_value(object)?;
        let began = Instant::now();
        api.create(&PostParams::default(), &object).await.context("creating an object")?;
        Ok::<_, anyhow::Error>((object.name_any(), began))
    });
    stream::iter(creations).buffer_unordered(CREATORS).try_collect().await
}

/// The keys that become Ready.
pub(super) struct ReadyKeys {
    names: UnboundedReceiver<(String, Instant)>,
    watch: AbortHandle,
}

impl ReadyKeys {
    /// Waits until these keys are Ready, and returns how long each took.
    ///
    /// Errors: the operator has ended. On a busy machine it loses its lease.
    pub(super) async fn wait_for(
        &mut self,
        began: &HashMap<String, Instant>,
        operator: &Paddock,
    ) -> Result<Vec<Duration>> {
        let (mut latencies, deadline) = (HashMap::new(), Instant::now() + TIMEOUT);
        while latencies.len() < began.len() {
            let Ok(next) = tokio::time::timeout(CHECK_INTERVAL, self.names.recv()).await else {
                ensure!(Instant::now() < deadline, "{} of {} keys are Ready", latencies.len(), began.len());
                let log = operator.process().log();
                ensure!(operator.process().exit_status().is_none(), "the operator has ended:\n{}", log.tail(5));
                continue;
            };
            let (name, at) = next.context("the watch has ended")?;
            if let Some(begun) = began.get(&name) {
                latencies.entry(name).or_insert_with(|| at.duration_since(*begun));
            }
        }
        Ok(latencies.into_values().collect())
    }
}

impl Drop for ReadyKeys {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
