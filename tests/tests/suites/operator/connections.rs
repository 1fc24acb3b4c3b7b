//! An API server that is silent, and connections to it that are silent.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_crds::{ApiUser, data};
use paddock_tests::{
    chaos_proxy::ChaosProxy,
    eventually::eventually,
    fake_ollama::FakeOllama,
    paddock::{Launch, Paddock},
    story::story,
};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT};

/// How long a watch may be deaf, and the time that its objects take afterwards.
const DEAF_TIMEOUT: Duration = Duration::from_secs(75 + 15);

/// A launch that reaches the API server only through the proxy.
async fn through_proxy(cluster: &ClusterFixture, launch: Launch) -> Result<(ChaosProxy, Launch)> {
    let proxy = ChaosProxy::start("127.0.0.1", cluster.kubernetes.port()?).await?;
    let kubeconfig = cluster.kubernetes.through_port(&cluster.account.kubeconfig(), proxy.port())?;
    Ok((proxy, launch.env("KUBECONFIG", &kubeconfig.display().to_string())))
}

/// Asserts that the gateway answers with the key.
async fn assert_served(paddock: &Paddock, key: &str) -> Result<()> {
    let answer = paddock.caller(key).get("/api/tags").send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_answers_while_the_api_server_is_silent() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let ollama = FakeOllama::start(&["smollm2:135m"]).await?;
        let launch = cluster.launch_with(&["run", "--operator", "--context", "paddock-tests"])?.ollama(&ollama.url());
        let (proxy, launch) = through_proxy(&cluster, launch).await?;
        let paddock = launch.start().await?;
        cluster.user_with_key("ada").await?;
        let key = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();
        assert_served(&paddock, &key).await?;

        proxy.set_frozen(true);
        let ready = format!("{}/readyz", paddock.metrics_url());
        eventually("the operator to stand down", EVENT_TIMEOUT, async || {
            assert_served(&paddock, &key).await?;
            ensure!(reqwest::get(&ready).await?.status() == 200, "not ready");
            ensure!(paddock.process().log().text().contains("all writes have stopped"), "it still leads");
            Ok(())
        })
        .await?;
        cluster.create::<ApiUser>("bob", json!({"email": "bob@example.com"})).await?;
        assert_served(&paddock, &key).await?;

        proxy.set_frozen(false);
        cluster.wait_for_ready::<ApiUser>("bob", "True", "Applied").await?;
        assert_served(&paddock, &key).await?;
        ensure!(paddock.process().exit_status().is_none(), "the process has ended");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_noticed() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (proxy, launch) = through_proxy(&cluster, cluster.launch()?).await?;
        let operator = launch.start().await?;
        cluster.user_with_key("ada").await?;
        proxy.blackhole();
        let silent = Instant::now();
        cluster.create::<ApiUser>("bob", json!({"email": "bob@example.com"})).await?;
        eventually("the user of a deaf operator", DEAF_TIMEOUT, async || {
            let bob = cluster.api::<ApiUser>().get("bob").await?;
            bob.status.and_then(|status| status.user_id).context("not applied")
        })
        .await?;
        let age = watch_age(&operator, "apiusers").await?;
        ensure!(age < silent.elapsed().as_secs_f64(), "the watch heard something after {age} s");
        ensure!(operator.process().exit_status().is_none(), "the operator has ended");
        Ok(())
    })
    .await;
}

/// The age of a watch, as the metrics report it.
async fn watch_age(operator: &Paddock, resource: &str) -> Result<f64> {
    let metrics = reqwest::get(format!("{}/metrics", operator.metrics_url())).await?.text().await?;
    let label = format!("resource=\"{resource}\"");
    let line = metrics.lines().find(|line| line.starts_with("paddock_watch_age_seconds{") && line.contains(&label));
    let value = line.and_then(|line| line.split_whitespace().next_back()).with_context(|| metrics.clone())?;
    Ok(value.parse()?)
}
