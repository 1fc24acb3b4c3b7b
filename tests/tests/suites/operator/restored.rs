//! The database is dropped under a running operator, and restored empty or from a backup that lacks
//! half of the keys.

#![expect(clippy::print_stdout, reason = "figures, shown with --nocapture")]

use std::{collections::BTreeSet, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, data};
use paddock_store::{OpenOptions, migrate};
use paddock_tests::{
    eventually::eventually,
    postgres::Postgres,
    process::run,
    reaper,
    story::{soak_or, story},
    testbed::Part,
};
use rstest::rstest;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;

use super::{ClusterFixture, EVENT_TIMEOUT, leaks::DeliveredKeys};

/// How long an object may say that it is Ready while the gateway refuses its key.
const TRUTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The time in which all keys are accepted again.
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(5);
/// The number of keys that are looked at again and again.
const SAMPLE: usize = 15;

fn keys() -> usize {
    soak_or(1_000, 30)
}

/// What the database is restored from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backup {
    Empty,
    /// Taken when half of the keys existed.
    Half,
}

impl ClusterFixture {
    async fn create_keys(&self, numbers: std::ops::Range<usize>) -> Result<()> {
        let creations = numbers.map(async |number| {
            let spec = json!({"userRef": {"name": "ada"}});
            self.create::<ApiKey>(&format!("key-{number}"), spec).await.map(|_| ())
        });
        stream::iter(creations).buffer_unordered(16).try_collect::<()>().await
    }

    async fn wait_until_all_ready(&self, count: usize) -> Result<()> {
        eventually("all keys to be Ready", RECOVERY_TIMEOUT, async || {
            let keys = self.api::<ApiKey>().list(&ListParams::default()).await?.items;
            let ready = keys.iter().filter(|key| is_ready(key)).count();
            ensure!(ready == count, "{ready} of {count}");
            Ok(())
        })
        .await
    }

    /// Whether the object says that it is Ready, and whether its key is accepted.
    async fn truth(&self, name: &str) -> Result<(bool, bool)> {
        let is_ready = is_ready(&self.api::<ApiKey>().get(name).await?);
        let key = self.secret_data(&format!("{name}-apikey")).await?[data::API_KEY].clone();
        // While the database is away nothing is known.
        let is_accepted = match self.accounts.authentication().authenticate(&key.as_str().into()).await {
            Ok(outcome) => outcome.is_ok(),
            Err(_) => false,
        };
        Ok((is_ready, is_accepted))
    }

    /// The names of the objects of a kind with an event that says that the database was replaced.
    async fn replaced(&self, kind: &str) -> Result<BTreeSet<String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await?.items.into_iter();
        Ok(all
            .filter(|event| event.reason.as_deref() == Some("DatabaseReplaced"))
            .filter_map(|event| event.regarding)
            .filter(|regarding| regarding.kind.as_deref() == Some(kind))
            .filter_map(|regarding| regarding.name)
            .collect())
    }
}

fn is_ready(key: &ApiKey) -> bool {
    key.status.as_ref().and_then(|status| status.condition("Ready")).is_some_and(|ready| ready.status == "True")
}

/// Drops the database and creates it again, from the dump or empty.
async fn replace_database(cluster: &ClusterFixture, dump: Option<&std::path::Path>) -> Result<()> {
    let url = cluster.database.url();
    let name = url.rsplit('/').next().context("a database")?;
    let mut server = PgConnection::connect(Postgres::shared().await?.url()).await?;
    for statement in [format!("DROP DATABASE \"{name}\" WITH (FORCE)"), format!("CREATE DATABASE \"{name}\"")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await?;
    }
    match dump {
        None => {
            migrate(&OpenOptions { max_connections: 4, ..OpenOptions::new(url.into()) }).await?;
        }
        Some(dump) => {
            let restore = Part::Postgres.locate()?.join("pg_restore");
            run(Command::new(restore).arg("--single-transaction").arg("--dbname").arg(url).arg(dump))?;
        }
    }
    Ok(())
}

/// Looks at some keys until all of them are Ready and accepted. Returns how long keys were refused.
/// Fails if an object says that it is Ready while its key is refused, for longer than it may.
async fn watch_truth(cluster: &ClusterFixture, names: &[String], back: Instant) -> Result<Duration> {
    let mut lies = vec![None; names.len()];
    while back.elapsed() < RECOVERY_TIMEOUT {
        let mut is_over = true;
        for (name, lie) in names.iter().zip(&mut lies) {
            let (is_ready, is_accepted) = cluster.truth(name).await?;
            is_over &= is_ready && is_accepted;
            if is_ready && !is_accepted {
                let since = lie.get_or_insert_with(Instant::now);
                ensure!(since.elapsed() <= TRUTH_TIMEOUT, "{name} says that it is Ready and is refused");
            } else {
                *lie = None;
            }
        }
        if is_over {
            return Ok(back.elapsed());
        }
    }
    anyhow::bail!("the keys are not accepted again")
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_has_every_key_again_soon(#[values(Backup::Empty, Backup::Half)] backup: Backup) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        let delivered = DeliveredKeys::watch(&cluster);
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create_keys(0..keys() / 2).await?;
        cluster.wait_until_all_ready(keys() / 2).await?;
        let folder = reaper::scratch_dir("dump")?;
        let file = folder.path().join("dump");
        let dump = Part::Postgres.locate()?.join("pg_dump");
        run(Command::new(dump).args(["--format=custom", "--file"]).arg(&file).arg(cluster.database.url()))?;
        cluster.create_keys(keys() / 2..keys()).await?;
        cluster.wait_until_all_ready(keys()).await?;
        let versions: BTreeSet<String> = cluster.accepted_key_ids().await?.into_iter().collect();
        ensure!(versions.len() == keys(), "{} versions", versions.len());

        let gone = Instant::now();
        replace_database(&cluster, (backup == Backup::Half).then_some(file.as_path())).await?;
        let back = Instant::now();
        let sample: Vec<String> = (0..SAMPLE).map(|n| format!("key-{}", n * keys() / SAMPLE)).collect();
        let refused = watch_truth(&cluster, &sample, back).await?;
        cluster.wait_until_all_ready(keys()).await?;
        for name in &sample {
            cluster.wait_until_consistent(name).await?;
        }
        println!(
            "{backup:?}, {} keys: away for {:.1} s, then 401 for {:.1} s, all Ready after {:.1} s",
            keys(),
            back.duration_since(gone).as_secs_f64(),
            refused.as_secs_f64(),
            back.elapsed().as_secs_f64()
        );
        let lost = match backup {
            Backup::Empty => 0..keys(),
            Backup::Half => keys() / 2..keys(),
        };
        eventually("an event on each lost object", EVENT_TIMEOUT, async || {
            let told = cluster.replaced("ApiKey").await?;
            let untold: Vec<_> = lost.clone().map(|n| format!("key-{n}")).filter(|name| !told.contains(name)).collect();
            ensure!(untold.is_empty(), "no event on {untold:?}");
            ensure!(told.len() == lost.len(), "events on keys that were not lost: {}", told.len());
            ensure!(cluster.replaced("ApiUser").await?.is_empty() == (backup == Backup::Half));
            Ok(())
        })
        .await?;
        if backup == Backup::Half {
            // What was in the backup is still accepted, and nobody had to read a Secret again.
            let now = cluster.accepted_key_ids().await?;
            let kept = now.iter().filter(|id| versions.contains(*id)).count();
            ensure!(kept == keys() / 2, "{kept} of the {} versions of the backup are accepted", keys() / 2);
        }
        cluster.wait_until_nothing_leaks(&delivered).await?;
        drop(operator);
        Ok(())
    })
    .await;
}
