//! Pulls and deletions in Ollama's dialect, by Ollama's own SDK.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    paddock::{Caller, fetch_json},
    process::run,
    registry::Fault,
    story::story,
    testbed::Part,
};
use serde_json::{Value, json};

use super::{Fixture, SLOW, STATE_TIMEOUT, assert_monotone};

const SDK: &str = r#"
import os, ollama
client = ollama.Client(host=os.environ["PADDOCK"], headers={"Authorization": "Bearer " + os.environ["KEY"]})
model = os.environ["MODEL"]
parts = list(client.pull(model, stream=True))
print([part.status for part in parts])
assert parts[0].status == "pulling manifest" and parts[-1].status == "success", parts
layers = [part for part in parts if part.digest]
assert layers and all(part.status == "pulling " + part.digest[7:19] for part in layers), layers
assert any((part.completed or 0) > 10000 for part in layers), layers
assert client.pull(model, insecure=True).status == "success"
assert model in [listed.model for listed in client.list().models]
for refused in ["evil.example/a/b", "a b", "gpt-oss:120b-cloud"]:
    try:
        client.pull(refused)
        raise AssertionError(refused)
    except ollama.ResponseError as error:
        assert error.status_code == 400, error
assert client.delete(model).status == "success"
try:
    client.delete(model)
    raise AssertionError("deleted twice")
except ollama.ResponseError as error:
    assert error.status_code == 404 and "not found" in error.error, error
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_pulls_and_deletes() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let model = fixture.add_model("library/m:1", 100_000, 1)?;
        // Ollama reports no progress of a layer that arrives at once.
        fixture.registry.set_fault(Some(Fault::Throttle(SLOW)));
        let mut sdk = Command::new(Part::Python.locate()?);
        let paddock = fixture.paddock.as_ref().context("a Paddock")?;
        sdk.args(["-c", SDK]).env("PADDOCK", paddock.url()).env("KEY", fixture.admin.key()).env("MODEL", &model);
        tokio::task::spawn_blocking(move || run(&mut sdk)).await??;
        ensure!(fixture.ollama.models().await?.is_empty());
        let events = fixture.audit_events().await?;
        assert_eq!(
            events,
            ["model_pull_started", "model_pulled", "model_pull_started", "model_pulled", "model_deleted"]
        );
        Ok(())
    })
    .await;
}

/// A pull in Ollama's dialect. Returns the lines of the answer.
async fn pull(caller: &Caller, body: &Value) -> Result<Vec<Value>> {
    let answer = caller.post("/api/pull", body).send().await?.error_for_status()?;
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = answer.text().await?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// A line of each status, without the number of bytes received: the last one may not be reported.
fn forms(lines: &[Value]) -> BTreeMap<String, Value> {
    let forms = lines.iter().filter_map(|line| {
        let mut form = line.clone();
        form.as_object_mut()?.remove("completed");
        Some((line["status"].as_str()?.to_owned(), form))
    });
    forms.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_are_those_of_ollama() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let model = fixture.add_model("library/m:1", 100_000, 1)?;
        fixture.registry.set_fault(Some(Fault::Throttle(SLOW)));
        let lines = pull(&fixture.admin, &json!({"name": model, "insecure": false})).await?;
        fixture.admin.delete(&format!("/models/{model}")).send().await?.error_for_status()?;
        let expected = fixture.ollama.pull(&model, true).await?;
        ensure!(lines.iter().any(|line| line["completed"].as_i64() > Some(10_000)), "{lines:?}");
        assert_eq!(forms(&lines), forms(&expected));
        ensure!(lines.first() == expected.first() && lines.last() == expected.last(), "{lines:?} {expected:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_pull_joins_the_job_and_survives_its_caller() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let (model, job) = fixture.start_slow_pull().await?;
        fixture.wait_for_progress(job).await?;
        let body = json!({"model": model});
        let mut early = fixture.admin.post("/api/pull", &body).send().await?.error_for_status()?;
        early.chunk().await?.context("the present state")?;
        drop(early);
        let once = fetch_json(fixture.admin.post("/api/pull", &json!({"model": model, "stream": false})));
        let (lines, once) = tokio::try_join!(pull(&fixture.admin, &body), once)?;
        assert_eq!(once, json!({"status": "success"}));
        let (first, last) = (lines.first().context("lines")?, lines.last().context("lines")?);
        assert_eq!((first, last), (&json!({"status": "pulling manifest"}), &json!({"status": "success"})));
        let largest = lines.iter().filter(|line| line["total"] == super::SLOW_SIZE);
        let progress: Vec<_> = largest
            .map(|line| json!({"percent": 0, "completed_bytes": line["completed"], "total_bytes": line["total"]}))
            .collect();
        ensure!(progress.len() > 3, "{lines:?}");
        assert_monotone(&progress)?;
        assert_eq!(fixture.audit_events().await?, ["model_pull_started", "model_pulled"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_pull_ends_with_the_error() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let missing = json!({"model": format!("{}/library/missing:1", fixture.registry.host())});
        let lines = pull(&fixture.admin, &missing).await?;
        let last = lines.last().context("a line")?;
        ensure!(last["error"].as_str().is_some_and(|error| error.contains("does not have this model")), "{last}");
        let mut once = missing;
        once["stream"] = false.into();
        let failed = fixture.admin.post("/api/pull", &once).send().await?;
        assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
        ensure!(failed.json::<Value>().await?["error"].is_string());

        let (model, _) = fixture.start_slow_pull().await?;
        let answer = fixture.admin.post("/api/pull", &json!({"model": model})).send().await?;
        let pulls = fetch_json(fixture.admin.get("/models/pull?limit=1")).await?;
        fixture.admin.delete(&format!("/models/pull/{}", pulls[0]["job"])).send().await?.error_for_status()?;
        let text = answer.text().await?;
        ensure!(text.ends_with("{\"error\":\"the pull was cancelled\"}\n"), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_deletion_of_a_managed_model_is_refused() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let model = fixture.add_model("library/m:1", 10_000, 1)?;
        pull(&fixture.admin, &json!({"model": model})).await?;
        fixture.own_model(&model).await?;
        let delete = async |body: Value| {
            let request = fixture.admin.request(Method::DELETE, "/api/delete").json(&body);
            let answer = request.send().await?;
            Ok::<_, anyhow::Error>((answer.status().as_u16(), answer.text().await?))
        };
        let (status, body) = delete(json!({"model": model})).await?;
        ensure!(status == 409 && body.contains("OllamaModel team-a/m"), "{status} {body}");
        assert_eq!(fixture.ollama.models().await?.len(), 1);
        for body in
            [json!({}), json!({"model": model, "name": "other"}), json!({"model": "a b"}), json!({"Model": model})]
        {
            let (status, answer) = delete(body.clone()).await?;
            ensure!(status == 400 && serde_json::from_str::<Value>(&answer)?["error"].is_string(), "{body}: {answer}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_is_refused_for_a_registry_with_tls() {
    story(async {
        let fixture =
            Fixture::with_settings(Engine::Sqlite, |launch| launch.env("MODEL_REGISTRIES", "tls.example")).await?;
        let body = json!({"model": "tls.example/a/m:1", "insecure": true});
        let refused = fixture.admin.post("/api/pull", &body).send().await?;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        ensure!(
            refused.json::<Value>().await?["error"].as_str().is_some_and(|error| error.contains("http://tls.example"))
        );
        ensure!(fetch_json(fixture.admin.get("/models/pull")).await? == json!([]));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_loses_its_rights_stops_following() {
    story(async {
        let fixture = Fixture::start(Engine::Sqlite).await?;
        let (model, job) = fixture.start_slow_pull().await?;
        let admin = fixture.admin.create_user(json!({"roles": ["admin"]})).await?;
        let (credential, key) = fixture.admin.create_key(admin, json!({"scopes": ["models:write"]})).await?;
        let mut answer = key.post("/api/pull", &json!({"model": model})).send().await?.error_for_status()?;
        answer.chunk().await?.context("the present state")?;
        let revoked = fixture.admin.post(&format!("/credentials/{credential}/revoke"), &Value::Null);
        revoked.send().await?.error_for_status()?;
        let text = answer.text().await?;
        ensure!(text.lines().last().is_some_and(|line| line.starts_with("{\"error\":")), "{text}");
        // The pull belongs to no caller.
        eventually("the pull to go on", STATE_TIMEOUT, async || {
            let pull = fixture.pull(job).await?;
            ensure!(pull["state"] == "running", "{pull}");
            Ok(())
        })
        .await?;
        fixture.registry.set_fault(None::<Fault>);
        Ok(())
    })
    .await;
}
