//! No secret is written in clear: each one is used in requests that succeed and that fail, with the
//! log level `trace`, and is then looked for in every sink.

mod encodings;
mod scenario;
mod sinks;

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_tests::{database::Engine, eventually::eventually, paddock::fetch_json, process::Signal, story::story};
use rstest::rstest;
use scenario::Scenario;
use sinks::{ServedDatabase, Sink, files};

use super::otlp_collector::Collector;

const JWT_SECRET: &str = "canaryjwt0f5c1e7a94b2d8836e0a7f4c2b9d1e5806c3a7f2";
const AUDIT_KEY: &str = "canaryaudit7d81b2c94e6f03a5d8c7b1e2f4a6093c5d7e8f";
const DATABASE_PASSWORD: &str = "canarydbpassword93c1";
const COLLECTOR_TOKEN: &str = "canarycollector51ab7f";
/// Has quotation marks and spaces, so that each of its encodings differs.
const BOOTSTRAP_PASSWORD: &str = "canary \"boot\" 63 violet harbour";
const SET_BY_COMMAND: &str = "canary \"prompt\" 41 violet harbour";
const SET_BY_ADMIN: &str = "canary given 29 violet harbour";
const SET_BY_OWNER: &str = "canary chosen 85 violet harbour";
const WRONG_PASSWORD: &str = "canary \"wrong\" 77 violet harbour";
const SHORT_PASSWORD: &str = "canary sh0rt";
const TYPED_AS_NAME: &str = "canary-typed-as-name-58d3";
const MALFORMED_KEY: &str = "pdk_canarymalformed";
/// The secret part of a well-formed key that was never issued.
const FORGED: &str = "canaryforged00000000000000000000000000000000000aa";
const IN_A_QUERY: &str = "canaryquery7733";
const PROMPT: &str = "canary prompt 3f81";
const COMPLETION: &str = "canary completion 90ac";

/// Not a secret, and so found in every sink: the control.
const CONTROL_EMAIL: &str = "seen-everywhere@example.com";
const REQUEST_ID: &str = "a-request-that-is-seen";

async fn secrets_are_found_nowhere(served: ServedDatabase, log_format: &str) -> Result<()> {
    let collector = Collector::start().await?;
    let mut scenario = Box::pin(Scenario::open(served, &collector, log_format)).await?;
    Box::pin(scenario.use_successfully()).await?;
    Box::pin(scenario.use_in_failures()).await?;
    ensure!(collector_received_its_token(&collector).await?, "the collector got another token");

    let mut sinks = std::mem::take(&mut scenario.sinks);
    let audit = fetch_json(scenario.admin.get("/audit?limit=500")).await?;
    sinks.push(Sink::new("the audit log", audit.to_string(), REQUEST_ID)?);
    for format in ["csv", "ndjson"] {
        let export = scenario.admin.get(&format!("/audit/export?format={format}")).send().await?.error_for_status()?;
        sinks.push(Sink::new("the export of the audit log", export.bytes().await?, REQUEST_ID)?);
    }
    let metrics = reqwest::get(format!("{}/metrics", scenario.paddock.metrics_url())).await?.bytes().await?;
    sinks.push(Sink::new("the metrics", metrics, "/auth/login\",")?);
    sinks.push(Sink::new("the answers to failed requests", scenario.errors.concat(), REQUEST_ID)?);
    sinks.extend(scenario.served.sinks().await?);

    scenario.paddock.process().signal(Signal::Term)?;
    ensure!(scenario.paddock.process().wait_for_exit(Duration::from_secs(10)).await?.success());
    let log = scenario.paddock.process().log().text();
    // The log includes that of libraries.
    sinks.push(Sink::new("the log", log.clone(), "hyper_util::client")?);
    sinks.push(Sink::new("the log", log, REQUEST_ID)?);
    sinks.push(Sink::new("the traces", collector.bytes(), "POST /auth/login")?);
    sinks.push(Sink::new("the files beside the database", files(scenario.folder.path())?, "canaries.audit-head")?);
    sinks.extend(scenario.served.sinks_after_shutdown()?);

    let secrets = scenario.secrets();
    ensure!(secrets.len() >= 12, "{} secrets", secrets.len());
    let mut leaks: Vec<_> = sinks.iter().flat_map(|sink| sink.leaks(secrets)).collect();
    // Ollama receives the prompt, and no other secret.
    leaks.extend(scenario.ollama_sink()?.leaks(secrets).filter(|leak| !leak.contains(": the prompt ")));
    ensure!(leaks.is_empty(), "{} secrets in {} sinks:\n{}", leaks.len(), sinks.len(), leaks.join("\n"));
    Ok(())
}

async fn collector_received_its_token(collector: &Collector) -> Result<bool> {
    let authorization = eventually("traces", Duration::from_secs(20), async || {
        collector.authorization().ok_or_else(|| anyhow::anyhow!("no traces yet"))
    });
    Ok(authorization.await?.contains(COLLECTOR_TOKEN))
}

#[rstest]
#[case::postgres(Engine::Postgres, "json")]
#[case::sqlite(Engine::Sqlite, "text")]
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere(#[case] engine: Engine, #[case] log_format: &str) {
    story(async {
        let served = Box::pin(ServedDatabase::new(engine)).await?;
        Box::pin(secrets_are_found_nowhere(served, log_format)).await
    })
    .await;
}
