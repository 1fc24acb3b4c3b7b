//! More connections than file descriptors: other requests are still served.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, future::try_join_all};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    paddock::{Launch, Paddock},
    story::story,
};
use reqwest::Client;
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpStream;

use super::launch;

const MODEL: &str = "smollm2:135m";
/// The limit of open file descriptors.
const MAX_DESCRIPTORS: u32 = 256;
/// The number of silent connections, which exceeds the limit.
const SILENT: usize = 400;

/// The launch with these limits, as `ulimit` sets them.
fn limited(launch: Launch, limits: &str) -> Launch {
    launch.with_prefix(&["sh", "-c", &format!("{limits}; exec \"$0\" \"$@\"")].map(str::to_owned))
}

/// Asserts that a request over a new connection is answered.
async fn assert_answered(url: &str) -> Result<()> {
    eventually(&format!("an answer of {url}"), Duration::from_secs(10), async || {
        let client = Client::builder().timeout(Duration::from_secs(2)).build()?;
        let answer = client.get(url).send().await?;
        ensure!(answer.status().is_success(), "{answer:?}");
        anyhow::Ok(())
    })
    .await
}

/// The value of a metric, with any labels.
async fn metric(paddock: &Paddock, name: &str) -> Result<u64> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in {text}"))?;
    Ok(line.rsplit(' ').next().context("a value")?.parse()?)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_block_other_requests(#[case] engine: Engine) {
    story(async {
        let (database, ollama) = (Database::new(engine).await?, FakeOllama::start(&[MODEL]).await?);
        ollama.script("/api/chat", Script::ndjson(chat_lines(MODEL, 60)).every(Duration::from_millis(50)));
        let launch = limited(launch(database.url())?.ollama(&ollama.url()), &format!("ulimit -n {MAX_DESCRIPTORS}"));
        let admin = launch.seed()?;
        let paddock = launch.start().await?;
        let address = paddock.url().trim_start_matches("http://");

        // A running stream continues to its end.
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]});
        let answer = paddock.caller(&admin.key).post("/api/chat", &chat).send().await?.error_for_status()?;
        let mut frames = answer.bytes_stream();
        let mut text = frames.next().await.context("a frame")??.to_vec();

        let _silent = try_join_all((0..SILENT).map(|_| TcpStream::connect(address))).await?;
        assert_answered(&format!("{}/healthz", paddock.url())).await?;
        for probe in ["livez", "readyz", "metrics"] {
            assert_answered(&format!("{}/{probe}", paddock.metrics_url())).await?;
        }
        let credentials = json!({"username": ADMIN_EMAIL, "password": admin.password});
        let signed_in = Client::new().post(format!("{}/auth/login", paddock.url())).json(&credentials).send().await?;
        ensure!(signed_in.status().is_success(), "{signed_in:?}");

        while let Some(frame) = frames.next().await {
            text.extend_from_slice(&frame?);
        }
        ensure!(String::from_utf8(text)?.lines().count() == 61, "the stream was cut");
        let log = paddock.process().log().text();
        ensure!(!log.contains("Too many open files"), "{log}");
        let evicted = metric(&paddock, "paddock_connections_over_limit_total{action=\"evicted\"}").await?;
        ensure!(evicted >= SILENT as u64 - u64::from(MAX_DESCRIPTORS), "{evicted}");
        ensure!(metric(&paddock, "paddock_connections_open").await? < u64::from(MAX_DESCRIPTORS));
        let warnings = log.lines().filter(|line| line.contains("connection limit reached")).count();
        ensure!(warnings == 1, "{warnings} lines in {log}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_descriptor_limit_is_raised_to_the_hard_limit() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = limited(launch(database.url())?, "ulimit -Sn 200; ulimit -Hn 1000");
        launch.seed()?;
        let paddock = launch.start().await?;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", paddock.process().id()))?;
        let row = limits.lines().find(|line| line.starts_with("Max open files")).context("a row")?;
        ensure!(row.split_whitespace().skip(3).take(2).eq(["1000", "1000"]), "{row}");
        let log = paddock.process().log().text();
        ensure!(log.lines().any(|line| line.contains("file descriptors") && line.contains("1000")), "{log}");
        Ok(())
    })
    .await;
}
