//! The database, Ollama or the registry is away for a while, during create, rotate and delete:
//! finalizers hold, nothing is lost or leaked, the objects say what is wrong, and everything is Ready
//! soon after the return.

#![expect(clippy::print_stdout, reason = "figures, shown with --nocapture")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use paddock_crds::{ApiKey, ApiUser, OllamaModel, annotation, data};
use paddock_tests::{
    chaos_proxy::ChaosProxy,
    eventually::eventually,
    ollama::Ollama,
    registry::Registry,
    story::{soak_or, story},
};
use rstest::rstest;
use serde_json::json;
use tokio::time::Instant;

use super::{ClusterFixture, EVENT_TIMEOUT, Kind, leaks::DeliveredKeys};

/// The time in which an object says what is wrong, and 5 s for a busy machine.
const TOLD_TIMEOUT: Duration = Duration::from_secs(15 + 5);
/// The time in which everything is Ready after the return.
const RETURN_TIMEOUT: Duration = Duration::from_secs(30);
/// The time in which a namespace goes with everything in it.
const NAMESPACE_TIMEOUT: Duration = Duration::from_mins(1);

/// How long the server is away.
fn outage() -> Duration {
    soak_or(Duration::from_mins(1), Duration::from_secs(10))
}

/// How a server is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// Connections stay open, and nothing is answered.
    Silent,
    /// Connections break, and new ones are closed.
    Closed,
}

impl Away {
    fn set(self, proxy: &ChaosProxy, is_away: bool) {
        match self {
            Self::Silent => proxy.set_frozen(is_away),
            Self::Closed => proxy.set_closed(is_away),
        }
    }
}

/// The port at the end of a URL or of `host:port`.
fn port(address: &str) -> Result<u16> {
    Ok(address.rsplit_once(':').context("a port")?.1.trim_end_matches('/').parse()?)
}

/// A proxy in front of the database server.
pub(super) async fn database_proxy(cluster: &ClusterFixture) -> Result<ChaosProxy> {
    let (server, _) = cluster.database.url().rsplit_once('/').context("a database")?;
    ChaosProxy::start("127.0.0.1", port(server)?).await
}

impl ClusterFixture {
    /// Waits until the object says what is wrong, in the time that it has for that.
    async fn wait_until_told<K: Kind>(&self, name: &str, reasons: &[&str], since: Instant) -> Result<()> {
        self.wait_for_retried::<K>(name, reasons).await?;
        ensure!(since.elapsed() <= TOLD_TIMEOUT, "{} {name} says so after {:?}", K::kind(&()), since.elapsed());
        Ok(())
    }

    async fn request_rotation(&self, name: &str) -> Result<()> {
        let request = json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: "in the outage"}}});
        self.merge_patch::<ApiKey>(name, request).await?;
        Ok(())
    }

    /// Waits until the key has another version than before, and is at rest.
    async fn wait_for_another_version(&self, name: &str, before: &str) -> Result<()> {
        eventually("another version", EVENT_TIMEOUT, async || {
            ensure!(self.assert_consistent(name).await? != before, "still {before}");
            Ok(())
        })
        .await
    }

    /// Requests the deletion of an object.
    async fn begin_deletion<K: Kind>(&self, name: &str) -> Result<()> {
        self.api::<K>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_loses_and_leaks_nothing(#[values(Away::Silent, Away::Closed)] away: Away) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let proxy = database_proxy(&cluster).await?;
        let doomed =
            ClusterFixture { namespace: cluster.kubernetes.namespace().await?, ..ClusterFixture::start().await? };
        cluster.account.grant(&doomed.namespace).await?;
        let _operator = cluster
            .launch()?
            .env("WATCH_NAMESPACES", &format!("{},{}", cluster.namespace, doomed.namespace))
            .env("DATABASE_URL", &proxy.url(cluster.database.url())?)
            .start()
            .await?;
        let delivered = DeliveredKeys::watch(&cluster);
        for name in ["kept", "rotated", "deleted"] {
            cluster.user_with_key(name).await?;
        }
        doomed.create::<ApiUser>("doomed", json!({"email": "doomed@example.com"})).await?;
        doomed.create::<ApiKey>("doomed", json!({"userRef": {"name": "doomed"}})).await?;
        doomed.wait_for_ready::<ApiKey>("doomed", "True", "Issued").await?;
        let before = cluster.wait_until_consistent("rotated").await?;
        let deleted = cluster.secret_data("deleted-apikey").await?[data::API_KEY].clone();

        away.set(&proxy, true);
        let began = Instant::now();
        cluster.create::<ApiUser>("created", json!({"email": "created@example.com"})).await?;
        cluster.create::<ApiKey>("created", json!({"userRef": {"name": "created"}})).await?;
        cluster.request_rotation("rotated").await?;
        cluster.begin_deletion::<ApiKey>("deleted").await?;
        cluster.begin_deletion::<ApiUser>("deleted").await?;
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        namespaces.delete(&doomed.namespace, &DeleteParams::default()).await?;
        let reasons = ["DatabaseUnavailable"];
        tokio::try_join!(
            cluster.wait_until_told::<ApiUser>("created", &reasons, began),
            cluster.wait_until_told::<ApiKey>("created", &["DatabaseUnavailable", "UserNotReady"], began),
            cluster.wait_until_told::<ApiKey>("rotated", &reasons, began),
            cluster.wait_until_told::<ApiKey>("deleted", &reasons, began),
            cluster.wait_until_told::<ApiUser>("deleted", &["DatabaseUnavailable", "CleanupPending"], began),
            doomed.wait_until_told::<ApiKey>("doomed", &reasons, began),
        )?;
        let told = began.elapsed();
        tokio::time::sleep_until(began + outage()).await;
        ensure!(namespaces.get_opt(&doomed.namespace).await?.is_some(), "the namespace went before its keys ended");

        away.set(&proxy, false);
        let back = Instant::now();
        cluster.wait_for_another_version("rotated", &before).await?;
        for name in ["kept", "created"] {
            cluster.wait_for_ready::<ApiUser>(name, "True", "Applied").await?;
            cluster.wait_until_consistent(name).await?;
        }
        cluster.wait_until_gone::<ApiKey>("deleted").await?;
        cluster.wait_until_gone::<ApiUser>("deleted").await?;
        ensure!(back.elapsed() <= RETURN_TIMEOUT, "everything is Ready after {:?}", back.elapsed());
        println!("database {away:?}: told by {:.1?}, Ready {:.1?} after the return", told, back.elapsed());
        wait_until_namespace_is_gone(&namespaces, &doomed.namespace).await?;
        ensure!(back.elapsed() <= NAMESPACE_TIMEOUT, "the namespace is gone after {:?}", back.elapsed());
        ensure!(cluster.accounts.authentication().authenticate(&deleted.as_str().into()).await?.is_err());
        cluster.wait_until_nothing_leaks(&delivered).await?;
        let left = format!("SELECT email FROM users WHERE managed_namespace = '{}'", doomed.namespace);
        ensure!(cluster.database.texts(&format!("{left} AND deleted_at IS NULL")).await?.is_empty());
        Ok(())
    })
    .await;
}

async fn wait_until_namespace_is_gone(namespaces: &Api<Namespace>, name: &str) -> Result<()> {
    eventually("the namespace to go", EVENT_TIMEOUT, async || match namespaces.get_opt(name).await? {
        None => Ok(()),
        Some(left) => Err(anyhow::anyhow!("{:?}", left.status)),
    })
    .await
}

/// A cluster with a real Ollama and a registry, each of which can be away.
struct ModelServers {
    ollama: Ollama,
    registry: Registry,
    ollama_proxy: ChaosProxy,
    registry_proxy: ChaosProxy,
}

impl ModelServers {
    async fn start() -> Result<Self> {
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let ollama_proxy = ChaosProxy::start("127.0.0.1", port(ollama.url())?).await?;
        let registry_proxy = ChaosProxy::start("127.0.0.1", port(&registry.host())?).await?;
        Ok(Self { ollama, registry, ollama_proxy, registry_proxy })
    }

    /// Adds a model to the registry, and returns its name and the spec of an object for it.
    fn add_model(&self, name: &str, seed: u64) -> Result<(String, serde_json::Value)> {
        let (direct, _) = self.registry.add_noise(&format!("library/{name}:1"), 10_000, seed)?;
        let proxied = format!("127.0.0.1:{}", self.registry_proxy.port());
        let model = direct.replace(&self.registry.host(), &proxied);
        Ok((model.clone(), json!({"model": model, "insecureRegistry": true})))
    }

    async fn start_operator(&self, cluster: &ClusterFixture) -> Result<paddock_tests::paddock::Paddock> {
        cluster
            .launch()?
            .ollama(&format!("http://127.0.0.1:{}", self.ollama_proxy.port()))
            .env("MODEL_REGISTRIES", &format!("http://127.0.0.1:{}", self.registry_proxy.port()))
            .env("PULL_STALL_TIMEOUT", "5s")
            .start()
            .await
    }
}

/// A server that only models need.
#[derive(Clone, Copy, Debug)]
enum ModelServer {
    Ollama,
    Registry,
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_or_registry_that_is_away_holds_up_only_what_needs_it(
    #[values(ModelServer::Ollama, ModelServer::Registry)] server: ModelServer,
    #[values(Away::Silent, Away::Closed)] away: Away,
) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let servers = ModelServers::start().await?;
        let _operator = servers.start_operator(&cluster).await?;
        let delivered = DeliveredKeys::watch(&cluster);
        let (kept, spec) = servers.add_model("kept", 1)?;
        cluster.create::<OllamaModel>("kept", spec).await?;
        cluster.create::<OllamaModel>("deleted", servers.add_model("deleted", 2)?.1).await?;
        for name in ["kept", "deleted"] {
            cluster.wait_for_ready::<OllamaModel>(name, "True", "Available").await?;
        }
        for name in ["rotated", "gone"] {
            cluster.user_with_key(name).await?;
        }
        let before = cluster.wait_until_consistent("rotated").await?;

        let (proxy, created_reasons): (_, &[&str]) = match server {
            ModelServer::Ollama => (&servers.ollama_proxy, &["BackendUnreachable", "TimedOut"]),
            ModelServer::Registry => (&servers.registry_proxy, &["PullFailed", "PullStalled"]),
        };
        away.set(proxy, true);
        let began = Instant::now();
        let (created, spec) = servers.add_model("created", 3)?;
        cluster.create::<OllamaModel>("created", spec).await?;
        cluster.begin_deletion::<OllamaModel>("deleted").await?;
        // Users and keys need neither.
        cluster.request_rotation("rotated").await?;
        cluster.begin_deletion::<ApiKey>("gone").await?;
        cluster.user_with_key("new").await?;
        cluster.wait_for_another_version("rotated", &before).await?;
        cluster.wait_until_gone::<ApiKey>("gone").await?;
        cluster.wait_until_told::<OllamaModel>("created", created_reasons, began).await?;
        match server {
            ModelServer::Ollama => {
                cluster.wait_until_told::<OllamaModel>("deleted", &["BackendUnreachable", "TimedOut"], began).await?;
            }
            ModelServer::Registry => cluster.wait_until_gone::<OllamaModel>("deleted").await?,
        }
        let told = began.elapsed();
        tokio::time::sleep_until(began + outage()).await;

        away.set(proxy, false);
        let back = Instant::now();
        for name in ["kept", "created"] {
            cluster.wait_for_ready::<OllamaModel>(name, "True", "Available").await?;
        }
        cluster.wait_until_gone::<OllamaModel>("deleted").await?;
        ensure!(back.elapsed() <= RETURN_TIMEOUT, "everything is Ready after {:?}", back.elapsed());
        println!("{server:?} {away:?}: told by {:.1?}, Ready {:.1?} after the return", told, back.elapsed());
        let mut models = servers.ollama.models().await?;
        models.sort();
        let mut expected = [kept, created];
        expected.sort();
        ensure!(models == expected, "{models:?}");
        cluster.wait_until_nothing_leaks(&delivered).await
    })
    .await;
}
