//! The operator is killed before and after every external write of each controller, while it
//! creates, updates, rotates and deletes. Another one then repairs everything within 30 s.

#![expect(clippy::print_stdout, reason = "figures, shown with --nocapture")]

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use kube::api::DeleteParams;
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, OllamaModel, annotation};
use paddock_tests::{
    eventually::eventually,
    ollama::Ollama,
    paddock::{Launch, Paddock},
    registry::Registry,
    story::{soak_or, story},
    write_gate::{ApiServerProxy, COMMIT, OLLAMA_WRITES, Side, TcpWriteProxy, WriteGate},
};
use rstest::rstest;
use serde_json::json;
use tokio::time::Instant;

use super::{ClusterFixture, EVENT_TIMEOUT, Kind, leaks::DeliveredKeys};

/// The time in which the next operator repairs everything.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is written after the last write of a change. The count of a user's keys follows
/// after two seconds.
const QUIET: Duration = Duration::from_secs(3);

/// A change of the objects. The four are one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Update,
    Rotate,
    Delete,
}

/// An operator whose writes pass through proxies.
struct Victim<'a> {
    cluster: &'a ClusterFixture,
    gate: Arc<WriteGate>,
    launch: Launch,
    operator: Arc<Paddock>,
    delivered: DeliveredKeys,
    /// A model that a registry has, and the Ollama that pulls it.
    model: String,
    ollama: &'a Ollama,
    _proxies: (ApiServerProxy, TcpWriteProxy, TcpWriteProxy),
}

fn port_of(url: &str) -> Result<u16> {
    let (_, port) = url.trim_end_matches('/').rsplit_once(':').context("a port")?;
    Ok(port.split('/').next().unwrap_or_default().parse()?)
}

impl<'a> Victim<'a> {
    async fn start(cluster: &'a ClusterFixture, ollama: &'a Ollama, registry: &Registry) -> Result<Self> {
        let gate = Arc::<WriteGate>::default();
        let api_server = ApiServerProxy::start(&cluster.account.kubeconfig(), &gate).await?;
        let kubeconfig = cluster.kubernetes.through_plain_port(&cluster.account.kubeconfig(), api_server.port())?;
        let direct = port_of(cluster.database.url())?;
        let database = TcpWriteProxy::start(direct, COMMIT, &gate).await?;
        let url = cluster.database.url().replace(&format!(":{direct}/"), &format!(":{}/", database.port()));
        let ollama_proxy = TcpWriteProxy::start(port_of(ollama.url())?, OLLAMA_WRITES, &gate).await?;
        let launch = cluster
            .launch()?
            .env("KUBECONFIG", &kubeconfig.display().to_string())
            .env("DATABASE_URL", &url)
            .ollama(&format!("http://127.0.0.1:{}", ollama_proxy.port()))
            .env("MODEL_REGISTRIES", &registry.url());
        let operator = Arc::new(launch.clone().start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 1_000, 5)?;
        let delivered = DeliveredKeys::watch(cluster);
        let proxies = (api_server, database, ollama_proxy);
        Ok(Self { cluster, gate, launch, operator, delivered, model, ollama, _proxies: proxies })
    }

    /// Makes the change, and kills the operator at the write with this number. Returns whether there
    /// were so many writes.
    async fn crash_at(&mut self, kind: Controller, change: Change, index: usize, side: Side) -> Result<bool> {
        let round = format!("{side:?}-{index}");
        self.gate.arm(Arc::clone(&self.operator), index, side);
        self.make(kind, change, &round).await?;
        let has_crashed = eventually("a crash, or the end of the change", EVENT_TIMEOUT, async || {
            if self.gate.crashed_at().is_some() {
                return Ok(true);
            }
            self.assert_done(kind, change, &round).await?;
            ensure!(self.gate.quiet_for() >= QUIET, "it still writes");
            Ok(false)
        })
        .await?;
        self.gate.disarm();
        let crash = self.gate.crashed_at().unwrap_or_else(|| "no crash".to_owned());
        if has_crashed {
            let status = self.operator.process().wait_for_exit(EVENT_TIMEOUT).await?;
            ensure!(status.code().is_none(), "it ended by itself: {status}");
            let began = Instant::now();
            self.operator = Arc::new(self.launch.clone().start().await.with_context(|| crash.clone())?);
            let repaired = async || self.assert_done(kind, change, &round).await;
            eventually("the repair", EVENT_TIMEOUT, repaired).await.with_context(|| format!("{change:?}: {crash}"))?;
            ensure!(began.elapsed() <= REPAIR_TIMEOUT, "{change:?}: {crash}: repaired after {:?}", began.elapsed());
        }
        self.cluster.wait_until_nothing_leaks(&self.delivered).await.with_context(|| format!("{change:?}: {crash}"))?;
        Ok(has_crashed)
    }

    async fn make(&self, kind: Controller, change: Change, round: &str) -> Result<()> {
        let (cluster, once) = (self.cluster, DeleteParams::default());
        match (kind, change) {
            (Controller::UsersAndKeys, Change::Create) => {
                cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
                cluster.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
            }
            (Controller::UsersAndKeys, Change::Update) => {
                cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"displayName": round}})).await?;
                cluster.merge_patch::<ApiKey>("ada", json!({"spec": {"label": round}})).await?;
            }
            (Controller::UsersAndKeys, Change::Rotate) => {
                let request = json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: round}}});
                cluster.merge_patch::<ApiKey>("ada", request).await?;
            }
            (Controller::UsersAndKeys, Change::Delete) => {
                cluster.api::<ApiKey>().delete("ada", &once).await?;
                cluster.api::<ApiUser>().delete("ada", &once).await?;
            }
            (Controller::Models, Change::Create) => {
                let spec = json!({"model": self.model, "insecureRegistry": true});
                cluster.create::<OllamaModel>("noise", spec).await?;
            }
            (Controller::Models, Change::Delete) => {
                cluster.api::<OllamaModel>().delete("noise", &once).await?;
            }
            // Nothing of a model that the operator acts on may change.
            (Controller::Models, Change::Update | Change::Rotate) => {}
        }
        Ok(())
    }

    /// Asserts that the change is complete and the objects are Ready.
    async fn assert_done(&self, kind: Controller, change: Change, round: &str) -> Result<()> {
        let cluster = self.cluster;
        if kind == Controller::Models {
            let models = self.ollama.models().await?;
            if change == Change::Delete {
                cluster.assert_gone::<OllamaModel>("noise").await?;
                ensure!(models.is_empty(), "{models:?}");
            } else {
                cluster.assert_current::<OllamaModel>("noise").await?;
                ensure!(models == [self.model.clone()], "{models:?}");
            }
            return Ok(());
        }
        if change == Change::Delete {
            cluster.assert_gone::<ApiKey>("ada").await?;
            cluster.assert_gone::<ApiUser>("ada").await?;
            ensure!(cluster.secrets().get_opt("ada-apikey").await?.is_none(), "the Secret is left");
            return Ok(());
        }
        cluster.assert_current::<ApiUser>("ada").await?;
        cluster.assert_current::<ApiKey>("ada").await?;
        cluster.assert_consistent("ada").await?;
        match change {
            Change::Update => {
                let row = "SELECT display_name || ' ' || label FROM credentials c JOIN users u ON u.id = c.user_id \
                           WHERE c.revoked_at IS NULL";
                let texts = cluster.database.texts(row).await?;
                ensure!(texts == [format!("{round} {round}")], "{texts:?}");
            }
            Change::Rotate => {
                let status = cluster.api::<ApiKey>().get("ada").await?.status.context("a status")?;
                ensure!(status.last_handled_rotate_at.as_deref() == Some(round), "{:?}", status.last_handled_rotate_at);
            }
            Change::Create | Change::Delete => {}
        }
        Ok(())
    }
}

impl ClusterFixture {
    async fn assert_gone<K: Kind>(&self, name: &str) -> Result<()> {
        let left = self.api::<K>().get_opt(name).await?;
        ensure!(left.is_none(), "{left:?}");
        Ok(())
    }

    /// Asserts that the object is Ready for its present generation.
    async fn assert_current<K: Kind>(&self, name: &str) -> Result<()> {
        let object = self.api::<K>().get(name).await?;
        let ready = object.status().and_then(|status| status.condition("Ready")).context("no Ready")?;
        ensure!(ready.status == "True" && ready.observed_generation == object.meta().generation, "{ready:?}");
        Ok(())
    }
}

/// The controllers whose objects are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    UsersAndKeys,
    Models,
}

impl Controller {
    fn changes(self) -> &'static [Change] {
        match self {
            Self::UsersAndKeys => &[Change::Create, Change::Update, Change::Rotate, Change::Delete],
            Self::Models => &[Change::Create, Change::Delete],
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_external_write_is_repaired(
    #[values(Controller::UsersAndKeys, Controller::Models)] kind: Controller,
    #[values(Side::Before, Side::After)] side: Side,
) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let mut victim = Victim::start(&cluster, &ollama, &registry).await?;
        let mut crashes = 0;
        for _ in 0..soak_or(20, 1) {
            // Until no change of the cycle has so many writes.
            for index in (0..).step_by(soak_or(1, 4)) {
                let mut has_crashed = false;
                for change in kind.changes() {
                    let crashed = victim.crash_at(kind, *change, index, side).await?;
                    crashes += usize::from(crashed);
                    has_crashed |= crashed;
                }
                if !has_crashed {
                    break;
                }
            }
        }
        println!("{kind:?}, {side:?}: {crashes} crashes");
        ensure!(crashes > kind.changes().len(), "only {crashes} crashes");
        Ok(())
    })
    .await;
}
