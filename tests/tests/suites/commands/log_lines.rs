//! Log lines that a server has collected are written before it ends.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Launch, Paddock},
    process::Signal,
    story::story,
};
use serde_json::Value;

const REQUESTS: usize = 300;
const TIMEOUT: Duration = Duration::from_secs(20);

/// The number of lines about each request.
fn requests(paddock: &Paddock) -> Result<BTreeMap<String, usize>> {
    let mut requests = BTreeMap::new();
    for line in paddock.process().log().text().lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let id = line["request_id"].as_str().filter(|_| line["message"] == "management request");
        if let Some(id) = id {
            *requests.entry(id.to_owned()).or_default() += 1;
        }
    }
    Ok(requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_lost_when_the_server_ends() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.env("LOG_FORMAT", "json");
        let launch = launch.env("RATE_LIMIT_PER_MINUTE", "1000000");
        let (paddock, admin) = Paddock::seeded(launch).await?;
        let sent = (0..REQUESTS).map(|number| {
            let request = admin.get("/me").header("X-Request-Id", format!("request-{number}"));
            async move { anyhow::Ok(request.send().await?.error_for_status()?.bytes().await?) }
        });
        try_join_all(sent).await?;
        // The latest lines wait for the next write.
        paddock.process().signal(Signal::Term)?;
        paddock.process().wait_for_exit(TIMEOUT).await?;
        eventually("a line about each request", TIMEOUT, async || {
            let requests = requests(&paddock)?;
            ensure!(requests.len() == REQUESTS, "{} of {REQUESTS} requests", requests.len());
            ensure!(requests.values().all(|lines| *lines == 1), "{requests:?}");
            Ok(())
        })
        .await
    })
    .await;
}
