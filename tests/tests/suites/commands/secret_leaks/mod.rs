//! Secrets stay secret: each one that Paddock is given or makes is used, rightly and wrongly, with the log at its most
//! talkative, and is then looked for everywhere that anything is written to.

mod encodings;
mod scenario;
mod sinks;

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::fetch_json;
use paddock_tests::process::Signal;

use super::otlp_collector::Collector;
use scenario::Scenario;
use sinks::{ServedDatabase, Sink, files};

const JWT_SECRET: &str = "canaryjwt0f5c1e7a94b2d8836e0a7f4c2b9d1e5806c3a7f2";
const AUDIT_KEY: &str = "canaryaudit7d81b2c94e6f03a5d8c7b1e2f4a6093c5d7e8f";
const DATABASE_PASSWORD: &str = "canarydbpassword93c1";
const COLLECTOR_TOKEN: &str = "canarycollector51ab7f";
/// Quotation marks and spaces, so that each form of it is another.
const BOOTSTRAP_PASSWORD: &str = "canary \"boot\" 63 violet harbour";
const SET_AT_PROMPT: &str = "canary \"prompt\" 41 violet harbour";
const SET_BY_ADMIN: &str = "canary given 29 violet harbour";
const CHOSEN: &str = "canary chosen 85 violet harbour";
const WRONG_PASSWORD: &str = "canary \"wrong\" 77 violet harbour";
const SHORT_PASSWORD: &str = "canary sh0rt";
const TYPED_AS_NAME: &str = "canary-typed-as-name-58d3";
const MALFORMED_KEY: &str = "pdk_canarymalformed";
/// Of the form of a key: what stands for the secret.
const FORGED: &str = "canaryforged00000000000000000000000000000000000aa";
const IN_A_QUERY: &str = "canaryquery7733";
const PROMPT: &str = "canary prompt 3f81";
const COMPLETION: &str = "canary completion 90ac";

/// Is no secret, and so is found wherever one could be.
const SEEN: &str = "seen-everywhere@example.com";
/// The id of requests.
const REQUEST: &str = "a-request-that-is-seen";

async fn secrets_are_found_nowhere(served: ServedDatabase, log_format: &str) -> Result<()> {
    let collector = Collector::start().await?;
    let mut scenario = Box::pin(Scenario::open(served, &collector, log_format)).await?;
    Box::pin(scenario.succeed()).await?;
    Box::pin(scenario.fail()).await?;
    ensure!(collector_was_asked_rightly(&collector).await?, "the collector got another token");

    let mut sinks = std::mem::take(&mut scenario.sinks);
    let audit = fetch_json(scenario.admin.get("/audit?limit=500")).await?;
    sinks.push(Sink::new("the audit log", audit.to_string(), REQUEST)?);
    for format in ["csv", "ndjson"] {
        let export = scenario.admin.get(&format!("/audit/export?format={format}")).send().await?.error_for_status()?;
        sinks.push(Sink::new("the export of the audit log", export.bytes().await?, REQUEST)?);
    }
    let metrics = reqwest::get(format!("{}/metrics", scenario.paddock.metrics_url())).await?.bytes().await?;
    sinks.push(Sink::new("the metrics", metrics, "/auth/login\",")?);
    sinks.push(Sink::new("the answers to what failed", scenario.errors.concat(), REQUEST)?);
    sinks.extend(scenario.served.sinks().await?);

    scenario.paddock.process().signal(Signal::Term)?;
    ensure!(scenario.paddock.process().wait_for_exit(Duration::from_secs(10)).await?.success());
    let log = scenario.paddock.process().log().text();
    // What libraries say at this level is there too.
    sinks.push(Sink::new("the log", log.clone(), "hyper_util::client")?);
    sinks.push(Sink::new("the log", log, REQUEST)?);
    sinks.push(Sink::new("the traces", collector.bytes(), "POST /auth/login")?);
    sinks.push(Sink::new("what is kept beside the database", files(scenario.kept.path())?, "canaries.audit-head")?);
    sinks.extend(scenario.served.rest()?);

    let secrets = scenario.secrets();
    ensure!(secrets.len() >= 12, "{} secrets", secrets.len());
    let mut leaks: Vec<_> = sinks.iter().flat_map(|sink| sink.leaks(secrets)).collect();
    // Ollama is told the prompt, and nothing else of this.
    leaks.extend(scenario.upstream()?.leaks(secrets).filter(|leak| !leak.contains(": the prompt ")));
    ensure!(leaks.is_empty(), "{} secrets in {} sinks:\n{}", leaks.len(), sinks.len(), leaks.join("\n"));
    Ok(())
}

/// Whether the collector was shown its token.
async fn collector_was_asked_rightly(collector: &Collector) -> Result<bool> {
    let asked = eventually("traces", Duration::from_secs(20), async || {
        collector.authorization().ok_or_else(|| anyhow::anyhow!("no traces yet"))
    });
    Ok(asked.await?.contains(COLLECTOR_TOKEN))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere_on_postgres() {
    paddock_tests::story::story(async {
        let served = Box::pin(ServedDatabase::postgres()).await?;
        Box::pin(secrets_are_found_nowhere(served, "json")).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere_on_sqlite() {
    paddock_tests::story::story(async { Box::pin(secrets_are_found_nowhere(ServedDatabase::sqlite()?, "text")).await })
        .await;
}
