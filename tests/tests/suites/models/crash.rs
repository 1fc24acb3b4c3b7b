//! Pulls whose process dies: another process, or the same one after its restart, continues them.

use anyhow::{Context as _, ensure};
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    process::{Signal, run},
    story::story,
};
use rstest::rstest;

use super::{Fixture, SLOW_SIZE, STATE_TIMEOUT, assert_monotone};

#[rstest]
#[case::killed_on_postgres(Engine::Postgres, Signal::Kill)]
#[case::killed_on_sqlite(Engine::Sqlite, Signal::Kill)]
#[case::stopped_on_postgres(Engine::Postgres, Signal::Term)]
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_continues_after_a_restart(#[case] engine: Engine, #[case] signal: Signal) {
    story(async {
        let mut fixture = Fixture::with_settings(engine, |launch| launch.env("DRAIN_TIMEOUT", "1s")).await?;
        let (model, job) = fixture.start_slow_pull().await?;
        let stored = eventually("progress that is stored", STATE_TIMEOUT, async || {
            let stored = "SELECT CAST(completed_bytes AS TEXT) FROM pull_jobs";
            let stored: i64 = fixture.database.texts(stored).await?[0].parse()?;
            ensure!(stored > 300_000, "{stored}");
            Ok(stored)
        })
        .await?;
        let killed = fixture.paddock.take().context("a Paddock")?;
        killed.process().signal(signal)?;
        killed.process().wait_for_exit(STATE_TIMEOUT).await?;
        drop(killed);
        eventually("the transfer to stop", STATE_TIMEOUT, async || {
            ensure!(fixture.registry.transfers() == 0);
            Ok(())
        })
        .await?;

        fixture.paddock = Some(fixture.launch.clone().start().await?);
        let after = fixture.follow(job).await?.rest().await?;
        assert_monotone(after.iter().map(|(_, pull)| pull))?;
        let (_, first) = after.first().context("events")?;
        ensure!(first["completed_bytes"].as_i64() >= Some(stored), "{stored} became {first}");
        let (name, last) = after.last().context("events")?;
        ensure!(name == "end" && last["state"] == "succeeded", "{last}");
        ensure!(fixture.ollama.models().await? == [model.as_str()], "{:?}", fixture.ollama.models().await?);
        // Ollama kept the data: the registry sent less than twice the model.
        let sent = fixture.registry.bytes_sent();
        ensure!(sent < (SLOW_SIZE * 3 / 2) as u64, "{sent} bytes were sent");
        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pulled"]);
        run(&mut fixture.launch.command(&["audit", "verify"])?)?;
        Ok(())
    })
    .await;
}
