//! The life of a pull, and the deletion of its model.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    paddock::fetch_json,
    process::{Signal, run},
    reaper,
    registry::Fault,
    story::story,
    testbed::repository,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Fixture, STATE_TIMEOUT, assert_monotone};

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_survives_its_caller_and_reports_progress(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let (model, job) = fixture.start_slow_pull().await?;
        // This client leaves in the middle.
        let mut early = fixture.follow(job).await?;
        early.next().await?.context("the present state")?;
        drop(early);
        let seen = fixture.wait_for_progress(job).await?;
        let late = fixture.follow(job).await?.rest().await?;

        let (_, first) = late.first().context("events")?;
        ensure!(first["completed_bytes"].as_i64() >= seen["completed_bytes"].as_i64(), "{first} after {seen}");
        assert_monotone(late.iter().map(|(_, pull)| pull))?;
        ensure!(late.iter().any(|(_, pull)| pull["bytes_per_second"].as_i64() > Some(50_000)), "no speed: {late:?}");
        let (name, last) = late.last().context("events")?;
        assert_eq!((name.as_str(), &last["state"], &last["percent"]), ("end", &json!("succeeded"), &json!(100)));
        ensure!(late.iter().filter(|(name, _)| name == "end").count() == 1, "{late:?}");
        ensure!(last["completed_bytes"] == last["total_bytes"], "{last}");
        assert_eq!(fixture.follow(job).await?.rest().await?.len(), 1);

        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pulled"]);
        let actors = "SELECT DISTINCT actor || ' ' || target FROM audit_logs WHERE event_type LIKE 'model_%'";
        assert_eq!(fixture.database.texts(actors).await?, [format!("key:1 {model}")]);
        assert_listed(&fixture, &model).await
    })
    .await;
}

/// Asserts that the list has the model, which the only backend has.
async fn assert_listed(fixture: &Fixture, model: &str) -> Result<()> {
    let list = fetch_json(fixture.admin.get("/models")).await?;
    assert_eq!(list["backends"], json!([{"url": fixture.ollama.url(), "reachable": true, "error": null}]));
    let models = list["models"].as_array().context("models")?;
    assert_eq!(models.len(), 1);
    let listed = &models[0];
    assert_eq!((&listed["model"], &listed["pull"]), (&json!(model), &Value::Null));
    let backend = &listed["backends"][0];
    assert_eq!((&backend["present"], &backend["loaded"]), (&json!(true), &json!(false)));
    ensure!(backend["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{backend}");
    ensure!(backend["size_bytes"].as_i64() > Some(1_000_000), "{backend}");
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_stops_the_transfer(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let (model, job) = fixture.start_slow_pull().await?;
        fixture.wait_for_progress(job).await?;
        let follower = fixture.follow(job).await?;
        let path = format!("/models/pull/{job}");
        for _ in 0..2 {
            let answer = fixture.admin.delete(&path).send().await?;
            assert_eq!(answer.status(), StatusCode::NO_CONTENT);
            assert_eq!(fixture.pull(job).await?["state"], "cancelled");
        }
        eventually("the transfer to stop", STATE_TIMEOUT, async || {
            let transfers = fixture.registry.transfers();
            ensure!(transfers == 0, "{transfers} transfers");
            Ok(())
        })
        .await?;
        ensure!(fixture.registry.bytes_sent() < super::SLOW_SIZE as u64, "the transfer was complete");
        let (name, last) = follower.rest().await?.pop().context("an event")?;
        assert_eq!((name.as_str(), &last["state"]), ("end", &json!("cancelled")));
        ensure!(fixture.ollama.models().await?.is_empty());
        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pull_cancelled"]);

        // A new pull of the model is another job, and continues with the data that Ollama kept.
        fixture.registry.set_fault(None);
        let again = fixture.start_pull(&model).await?;
        ensure!(again != job);
        fixture.wait_for(again, "succeeded").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_beyond_the_limit_wait_in_order() {
    story(async {
        let fixture = Fixture::with_settings(Engine::Sqlite, |launch| launch.env("MAX_PULLS", "2")).await?;
        fixture.registry.set_fault(Some(Fault::Throttle(super::SLOW)));
        let mut jobs = Vec::new();
        for number in 0..4 {
            let model = fixture.add_model(&format!("library/m{number}:1"), 1_000_000, 2 * number + 1)?;
            jobs.push(fixture.start_pull(&model).await?);
            // The same model, in another spelling, joins.
            let same = json!({"model": format!("http://{}", model.replace("library/m", "Library/M"))});
            let joined = fixture.admin.post("/models/pull", &same).send().await?;
            assert_eq!(joined.status(), StatusCode::OK);
            assert_eq!(joined.headers()["location"], format!("/models/pull/{}", jobs[jobs.len() - 1]));
        }
        fixture.wait_for(jobs[0], "running").await?;
        fixture.wait_for(jobs[1], "running").await?;
        for job in &jobs[2..] {
            assert_eq!(fixture.pull(*job).await?["state"], "queued");
        }
        fixture.wait_for(jobs[2], "running").await?;
        let running = "SELECT CAST(count(*) AS TEXT) FROM pull_jobs WHERE state = 'running'";
        ensure!(fixture.database.texts(running).await?[0].parse::<u8>()? <= 2);
        fixture.registry.set_fault(None);
        for job in &jobs {
            fixture.wait_for(*job, "succeeded").await?;
        }
        let in_order = "SELECT CAST(id AS TEXT) FROM pull_jobs ORDER BY started_at";
        let in_order = fixture.database.texts(in_order).await?;
        assert_eq!(in_order, jobs.iter().map(ToString::to_string).collect::<Vec<_>>());
        let list = fixture.admin.get("/models/pull?limit=3").send().await?;
        assert_eq!(list.headers()["x-total-count"], "4");
        let listed: Vec<Value> = list.json().await?;
        assert_eq!(
            listed.iter().map(|pull| pull["job"].as_i64()).collect::<Vec<_>>(),
            [Some(jobs[3]), Some(jobs[2]), Some(jobs[1])]
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pull_has_a_reason() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let missing = fixture.start_pull(&format!("{}/library/missing:1", fixture.registry.host())).await?;
        let failed = fixture.wait_for(missing, "failed").await?;
        ensure!(
            failed["reason"].as_str().is_some_and(|reason| reason.contains("does not have this model")),
            "{failed}"
        );

        fixture.registry.set_fault(Some(Fault::Manifests(StatusCode::INTERNAL_SERVER_ERROR)));
        let model = fixture.add_model("library/m:1", 10_000, 1)?;
        let broken = fixture.start_pull(&model).await?;
        let failed = fixture.wait_for(broken, "failed").await?;
        ensure!(failed["reason"].as_str().is_some_and(|reason| reason.contains("500")), "{failed}");
        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pull_started"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_deleted_unless_an_object_owns_it(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let model = fixture.add_model("team/m:1", 10_000, 1)?;
        let job = fixture.start_pull(&model).await?;
        fixture.wait_for(job, "succeeded").await?;
        fixture.own_model(&model).await?;
        let (plain, escaped) = (format!("/models/{model}"), format!("/models/{}", model.replace('/', "%2F")));
        let refused = fixture.admin.delete(&plain).send().await?;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        let problem: Value = refused.json().await?;
        ensure!(problem["detail"].as_str().is_some_and(|detail| detail.contains("OllamaModel team-a/m")), "{problem}");
        assert_eq!(fixture.ollama.models().await?.len(), 1);
        let listed = fetch_json(fixture.admin.get("/models")).await?;
        assert_eq!(listed["models"][0]["managed_by"][0]["name"], "m");

        fixture.database.execute("DELETE FROM models").await?;
        assert_eq!(fixture.admin.delete(&escaped).send().await?.status(), StatusCode::NO_CONTENT);
        ensure!(fixture.ollama.models().await?.is_empty());
        for path in [plain, escaped] {
            assert_eq!(fixture.admin.delete(&path).send().await?.status(), StatusCode::NOT_FOUND);
        }
        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pulled", "model_deleted"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_ollama_is_marked_and_its_pull_waits() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let (model, job) = fixture.start_slow_pull().await?;
        fixture.wait_for_progress(job).await?;
        let process = fixture.ollama.process().context("an own Ollama")?;
        process.signal(Signal::Kill)?;
        process.wait_for_exit(STATE_TIMEOUT).await?;

        let list = fetch_json(fixture.admin.get("/models")).await?;
        assert_eq!(list["backends"][0]["reachable"], false);
        let listed = &list["models"][0];
        assert_eq!((&listed["model"], &listed["pull"]["job"]), (&json!(model), &json!(job)));
        assert_eq!(
            (&listed["backends"][0]["present"], &listed["backends"][0]["reachable"]),
            (&Value::Null, &json!(false))
        );
        assert_eq!(fixture.admin.delete("/models/any").send().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(fixture.pull(job).await?["state"], "running");
        assert_eq!(fixture.audit_events().await?, ["model_pull_started"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_commands_work() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let model = fixture.add_model("library/m:1", 10_000, 1)?;
        let page = std::fs::read_to_string(repository().join("docs/models.md"))?;
        let commands: Vec<_> = page.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).collect();
        ensure!(commands.len() == 6, "{commands:#?}");
        let folder = reaper::scratch_dir("models-page")?;
        let mut shell = Command::new("bash");
        shell.args(["-e", "-o", "pipefail", "-c", &commands.concat().replace("smollm2:135m", &model)]);
        let paddock = fixture.paddock.as_ref().context("a Paddock")?;
        shell.env("PADDOCK_SERVER", paddock.url()).env("PADDOCK_TOKEN", fixture.admin.key());
        shell.current_dir(folder.path());
        let said = tokio::task::spawn_blocking(move || run(&mut shell)).await??;
        ensure!(said.contains("event: end") && said.contains("\"succeeded\""), "{said}");
        ensure!(fixture.ollama.models().await?.is_empty());
        Ok(())
    })
    .await;
}
