//! Secrets stay secret: each one that Paddock is given or makes is used, rightly and wrongly, with the log at its most
//! talkative, and is then looked for everywhere that anything is written to.

mod forms;
mod places;
mod story;

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::answer;
use paddock_tests::process::Signal;

use super::otlp::Collector;
use places::{Place, Served, files};
use story::Story;

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

async fn secrets_are_found_nowhere(served: Served, log_format: &str) -> Result<()> {
    let collector = Collector::start().await?;
    let mut story = Box::pin(Story::open(served, &collector, log_format)).await?;
    Box::pin(story.succeed()).await?;
    Box::pin(story.fail()).await?;
    ensure!(collector_was_asked_rightly(&collector).await?, "the collector got another token");

    let mut places = std::mem::take(&mut story.places);
    let audit = answer(story.admin.get("/audit?limit=500")).await?;
    places.push(Place::new("the audit log", audit.to_string(), REQUEST)?);
    for format in ["csv", "ndjson"] {
        let export = story.admin.get(&format!("/audit/export?format={format}")).send().await?.error_for_status()?;
        places.push(Place::new("the export of the audit log", export.bytes().await?, REQUEST)?);
    }
    let metrics = reqwest::get(format!("{}/metrics", story.paddock.metrics_url())).await?.bytes().await?;
    places.push(Place::new("the metrics", metrics, "/auth/login\",")?);
    places.push(Place::new("the answers to what failed", story.errors.concat(), REQUEST)?);
    places.extend(story.served.places().await?);

    story.paddock.process().signal(Signal::Term)?;
    ensure!(story.paddock.process().ended(Duration::from_secs(10)).await?.success());
    let log = story.paddock.process().log().text();
    // What libraries say at this level is there too.
    places.push(Place::new("the log", log.clone(), "hyper_util::client")?);
    places.push(Place::new("the log", log, REQUEST)?);
    places.push(Place::new("the traces", collector.bytes(), "POST /auth/login")?);
    places.push(Place::new("what is kept beside the database", files(story.kept.path())?, "canaries.audit-head")?);
    places.extend(story.served.rest()?);

    let secrets = story.secrets();
    ensure!(secrets.len() >= 12, "{} secrets", secrets.len());
    let mut leaks: Vec<_> = places.iter().flat_map(|place| place.leaks(secrets)).collect();
    // Ollama is told the prompt, and nothing else of this.
    leaks.extend(story.upstream()?.leaks(secrets).filter(|leak| !leak.contains(": the prompt ")));
    ensure!(leaks.is_empty(), "{} secrets in {} places:\n{}", leaks.len(), places.len(), leaks.join("\n"));
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
        let served = Box::pin(Served::postgres()).await?;
        Box::pin(secrets_are_found_nowhere(served, "json")).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere_on_sqlite() {
    paddock_tests::story::story(async { Box::pin(secrets_are_found_nowhere(Served::sqlite()?, "text")).await }).await;
}
