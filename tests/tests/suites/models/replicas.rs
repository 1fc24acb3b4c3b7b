//! Two replicas on one database: each pull runs in one of them, and the other one continues the pulls
//! of a dead replica.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    paddock::{Caller, Paddock, fetch_json},
    process::{Signal, free_port},
    registry::Fault,
    story::story,
};
use serde_json::json;

use super::{Fixture, STATE_TIMEOUT};

impl Fixture {
    /// Starts another replica, and returns it with a caller of it.
    async fn replica(&self) -> Result<(Paddock, Caller)> {
        let launch = self.launch.clone().env("LISTEN_ADDR", &format!("127.0.0.1:{}", free_port()?));
        let paddock = launch.env("METRICS_ADDR", &format!("127.0.0.1:{}", free_port()?)).start().await?;
        let caller = paddock.caller(self.admin.key());
        Ok((paddock, caller))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_run_one_pull_twice() {
    story(async {
        const MODELS: u64 = 16;
        let fixture = Fixture::with_settings(Engine::Postgres, |launch| launch.env("MAX_PULLS", "3")).await?;
        let (_other, by_other) = fixture.replica().await?;
        let models =
            (0..MODELS).map(|number| fixture.add_model(&format!("library/m{number}:1"), 50_000, 2 * number + 1));
        let models = models.collect::<Result<Vec<_>>>()?;
        // Both replicas get the same requests at the same time, before any pull can end.
        fixture.registry.set_fault(Some(Fault::Throttle(20_000)));
        let requests = models.iter().flat_map(|model| {
            [&fixture.admin, &by_other].map(|caller| fetch_json(caller.post("/models/pull", &json!({"model": model}))))
        });
        let started = try_join_all(requests).await?;
        fixture.registry.set_fault(None);
        let jobs: BTreeMap<i64, usize> = started.iter().fold(BTreeMap::new(), |mut jobs, pull| {
            *jobs.entry(pull["job"].as_i64().unwrap_or_default()).or_default() += 1;
            jobs
        });
        ensure!(jobs.len() == models.len() && jobs.values().all(|count| *count == 2), "{jobs:?}");
        let most = eventually("all pulls to succeed", STATE_TIMEOUT * 2, async || {
            let left = "SELECT CAST(count(*) AS TEXT) FROM pull_jobs WHERE state <> 'succeeded'";
            let left = fixture.database.texts(left).await?;
            let running = "SELECT CAST(count(*) AS TEXT) FROM pull_jobs WHERE state = 'running'";
            let running: usize = fixture.database.texts(running).await?[0].parse()?;
            ensure!(running <= 3, "{running} run at once");
            ensure!(left == ["0"], "{left:?} are left");
            Ok(running)
        })
        .await?;
        assert_eq!(most, 0);
        // Ollama asked for each manifest once.
        let requests = fixture.registry.requests();
        for number in 0..MODELS {
            let manifest = format!("GET manifest library/m{number}:1");
            let count = requests.iter().filter(|request| **request == manifest).count();
            ensure!(count == 1, "{count} times {manifest}");
        }
        let events = fixture.audit_events().await?;
        for event in ["model_pull_started", "model_pulled"] {
            assert_eq!(events.iter().filter(|found| *found == event).count(), models.len(), "{event}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_continues_the_pull_of_a_dead_one() {
    story(async {
        let mut fixture = Fixture::start(Engine::Postgres).await?;
        let (_model, job) = fixture.start_slow_pull().await?;
        fixture.wait_for_progress(job).await?;
        let (_other, by_other) = fixture.replica().await?;
        // The other replica follows the pull too.
        eventually("progress at the other replica", STATE_TIMEOUT, async || {
            let seen = fetch_json(by_other.get(&format!("/models/pull/{job}"))).await?;
            ensure!(seen["state"] == "running" && seen["completed_bytes"].as_i64() > Some(0), "{seen}");
            Ok(())
        })
        .await?;
        let killed = fixture.paddock.take().context("a Paddock")?;
        killed.process().signal(Signal::Kill)?;
        fixture.admin = by_other;
        let last = fixture.follow(job).await?.rest().await?.pop().context("an event")?;
        assert_eq!((last.0.as_str(), &last.1["state"]), ("end", &json!("succeeded")));
        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pulled"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_cancels_a_pull() {
    story(async {
        let fixture = Fixture::start(Engine::Postgres).await?;
        let (_model, job) = fixture.start_slow_pull().await?;
        fixture.wait_for_progress(job).await?;
        // Started later, so that it does not run the pull.
        let (_other, by_other) = fixture.replica().await?;
        by_other.delete(&format!("/models/pull/{job}")).send().await?.error_for_status()?;
        eventually("the transfer to stop", STATE_TIMEOUT, async || {
            ensure!(fixture.registry.transfers() == 0, "{} transfers", fixture.registry.transfers());
            Ok(())
        })
        .await?;
        assert_eq!(fixture.pull(job).await?["state"], "cancelled");
        fixture.registry.set_fault(None::<Fault>);
        Ok(())
    })
    .await;
}
