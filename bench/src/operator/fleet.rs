//! Many keys, ten for each user: a cold start, one change, a settled operator, and a restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use paddock_crds::{ApiKey, ApiUser};
use paddock_tests::{eventually::eventually, process::Signal};
use serde::Serialize;
use serde_json::json;

use super::{as_f64, cluster::Cluster, since};
use crate::{load::Measure, machine::load_average, markdown::table};

/// The keys of a user.
const KEYS_PER_USER: usize = 10;
/// How often one key is changed.
const CHANGES: usize = 9;
const TIMEOUT: Duration = Duration::from_mins(15);

/// The figures of a number of keys.
#[derive(Serialize)]
pub(super) struct Fleet {
    keys: usize,
    users: usize,
    /// From the start of the operator until every key is Ready, in seconds.
    cold_seconds: f64,
    /// The times at which keys became Ready after the start.
    ready: Measure,
    /// Writes to the API server for an object, without its creation.
    writes_per_object: f64,
    /// Versions that were staged more than once for a key.
    staged_twice: u64,
    rss_kib: u64,
    highest_kib: u64,
    /// From a change of one key to Ready.
    change: Measure,
    settled_seconds: f64,
    settled_api_writes: u64,
    settled_database_writes: u64,
    /// From the start of the operator until it has reconciled every object again, in seconds.
    restart_seconds: f64,
    restart_api_writes: u64,
    restart_database_writes: u64,
    load: String,
}

pub(super) async fn measure(cluster: &Cluster, keys: usize, settle: Duration) -> Result<Fleet> {
    let users = keys.div_ceil(KEYS_PER_USER);
    let name = format!("fleet-{keys}");
    let staged_before = count_staged(cluster).await?;
    let user = format!("{name}-user");
    cluster.create_users(&user, users).await?;
    let created = cluster.create_keys(&name, keys, &user, users).await?;
    cluster.wait_until_quiet(Duration::from_secs(2)).await?;

    let mut ready = cluster.watch_ready();
    let writes = cluster.api_writes().await?;
    let began = Instant::now();
    let operator = cluster.launch()?.spawn()?;
    let from_start = created.keys().map(|name| (name.clone(), began)).collect();
    let latencies = ready.wait_for(&from_start, &operator).await?;
    let cold = began.elapsed();
    drop(ready);
    cluster.wait_until_quiet(Duration::from_secs(5)).await?;
    let writes_per_object = since(writes, cluster.api_writes().await?) / as_f64(keys + users);
    let staged = count_staged(cluster).await? - staged_before;
    let change = change_one(cluster, &name).await?;
    cluster.wait_until_quiet(Duration::from_secs(5)).await?;
    let (rss_kib, highest_kib) = (operator.process().memory_kib("VmRSS")?, operator.process().memory_kib("VmHWM")?);

    let before = (cluster.api_writes().await?, cluster.database_writes().await?);
    tokio::time::sleep(settle).await;
    let settled = (cluster.api_writes().await? - before.0, cluster.database_writes().await? - before.1);

    operator.process().signal(Signal::Term)?;
    operator.process().wait_for_exit(TIMEOUT).await?;
    let before = (cluster.api_writes().await?, cluster.database_writes().await?);
    let began = Instant::now();
    let operator = cluster.launch()?.start().await?;
    let expected = u64::try_from(keys + users)?;
    eventually("every object to be reconciled", TIMEOUT, async || {
        let reconciles = cluster.reconciles(&operator).await?;
        ensure!(reconciles >= expected, "{reconciles} of {expected}");
        Ok(())
    })
    .await?;
    let restart = began.elapsed();
    cluster.wait_until_quiet(Duration::from_secs(5)).await?;
    let restarted = (cluster.api_writes().await? - before.0, cluster.database_writes().await? - before.1);
    let load = load_average().trim().to_owned();
    remove(cluster, operator).await?;
    Ok(Fleet {
        keys,
        users,
        cold_seconds: cold.as_secs_f64(),
        ready: Measure::of(latencies, cold),
        writes_per_object,
        staged_twice: staged.saturating_sub(u64::try_from(keys)?),
        rss_kib,
        highest_kib,
        change,
        settled_seconds: settle.as_secs_f64(),
        settled_api_writes: settled.0,
        settled_database_writes: settled.1,
        restart_seconds: restart.as_secs_f64(),
        restart_api_writes: restarted.0,
        restart_database_writes: restarted.1,
        load,
    })
}

/// How many versions were ever staged.
async fn count_staged(cluster: &Cluster) -> Result<u64> {
    let query = "SELECT count(*)::text FROM audit_logs WHERE event_type = 'api_key_staged'";
    let texts = cluster.database.texts(query).await?;
    Ok(texts.first().context("a count")?.parse()?)
}

/// Changes one key after the other, and waits until each is Ready again.
async fn change_one(cluster: &Cluster, name: &str) -> Result<Measure> {
    let keys: Api<ApiKey> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let (all, mut each) = (Instant::now(), Vec::new());
    for number in 0..CHANGES {
        let (key, patch) = (format!("{name}-{number}"), json!({"spec": {"label": format!("change {number}")}}));
        let began = Instant::now();
        let changed = keys.patch(&key, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        eventually("the change", TIMEOUT, async || {
            let present = keys.get(&key).await?.status.context("a status")?;
            ensure!(Some(present.observed_generation) == changed.metadata.generation, "not yet");
            Ok(())
        })
        .await?;
        each.push(began.elapsed());
    }
    Ok(Measure::of(each, all.elapsed()))
}

/// Removes the objects and ends the operator, which cleans up after them.
async fn remove(cluster: &Cluster, operator: paddock_tests::paddock::Paddock) -> Result<()> {
    cluster.delete_all::<ApiKey>(&cluster.namespace).await?;
    cluster.delete_all::<ApiUser>(&cluster.namespace).await?;
    drop(operator);
    cluster.delete_all::<Secret>(&cluster.namespace).await
}

/// The table of the fleets; empty if there are none.
pub(super) fn markdown(fleets: &[Fleet]) -> String {
    if fleets.is_empty() {
        return String::new();
    }
    let rows = fleets.iter().map(|fleet| {
        let figures = vec![
            format!("{:.0}", fleet.cold_seconds),
            format!("{:.0}", fleet.ready.rate),
            format!("{:.1} / {:.1}", fleet.ready.p50 / 1e6, fleet.ready.p99 / 1e6),
            format!("{:.1}", fleet.writes_per_object),
            fleet.staged_twice.to_string(),
            format!("{} / {}", fleet.rss_kib / 1024, fleet.highest_kib / 1024),
            format!("{:.0} / {:.0}", fleet.change.p50 / 1e3, fleet.change.p99 / 1e3),
            format!(
                "{} / {} in {:.0} s",
                fleet.settled_api_writes, fleet.settled_database_writes, fleet.settled_seconds
            ),
            format!("{:.0}", fleet.restart_seconds),
            format!("{} / {}", fleet.restart_api_writes, fleet.restart_database_writes),
            fleet.load.clone(),
        ];
        (format!("{} and {}", fleet.keys, fleet.users), figures)
    });
    let columns = [
        "all Ready s",
        "Ready/s",
        "p50 / p99 s",
        "API writes/object",
        "staged twice",
        "MiB / highest",
        "one change p50 / p99 ms",
        "settled: API / database writes",
        "restart s",
        "restart: API / database writes",
        "load",
    ];
    format!(
        "\n{}\nA cold start with existing objects, ten keys for each user.\n",
        table("keys and users", &columns, rows)
    )
}
