//! Several Ollamas: which one runs a request, and what happens when one fails.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use http::StatusCode;
use paddock_tests::{
    chaos_proxy::ChaosProxy,
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{End, FakeOllama, Script, chat_lines},
    paddock::{Caller, Launch, Paddock, fetch_json},
    story::story,
};
use serde_json::{Value, json};

use super::{MODEL, OTHER_MODEL, new_chat};

/// The time in which the health check ejects a backend, on a slow machine.
const NOTICED: Duration = Duration::from_secs(20);

/// A gateway in front of these URLs.
pub(super) struct Gateway {
    paddock: Paddock,
    pub(super) admin: Caller,
    pub(super) workload: Caller,
    _database: Database,
}

impl Gateway {
    pub(super) async fn start(urls: &[String]) -> Result<Self> {
        let database = Database::new(Engine::Sqlite).await?;
        let launch =
            Launch::new(&["api"], database.url())?.ollama(&urls.join(",")).env("RATE_LIMIT_PER_MINUTE", "100000");
        let (paddock, admin) = Paddock::seeded(launch).await?;
        let workload = admin.create_workload().await?;
        Ok(Self { paddock, admin, workload, _database: database })
    }

    async fn chat(&self, model: &str) -> Result<StatusCode> {
        let answer = self.workload.post("/api/chat", &new_chat(model)).send().await?;
        let status = answer.status();
        answer.bytes().await?;
        Ok(status)
    }

    /// The backends that `/readyz` names, with the problem of each.
    async fn problems(&self) -> Result<Vec<(String, String)>> {
        let ready: Value =
            reqwest::get(format!("{}/readyz", self.paddock.url())).await?.error_for_status()?.json().await?;
        let backends = ready["backends"].as_array().context("backends")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(backends.iter().map(|backend| (text(&backend["backend"]), text(&backend["problem"]))).collect())
    }

    /// Waits until `/readyz` names exactly this backend, and returns its problem.
    async fn ejected(&self, url: &str) -> Result<String> {
        eventually(url, NOTICED, async || {
            let mut problems = self.problems().await?;
            ensure!(problems.len() == 1 && problems[0].0 == url, "{problems:?}");
            Ok(problems.remove(0).1)
        })
        .await
    }
}

pub(super) async fn backend(models: &[&str]) -> Result<FakeOllama> {
    let fake = FakeOllama::start(models).await?;
    fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
    Ok(fake)
}

pub(super) fn served(fake: &FakeOllama) -> usize {
    fake.requests("/api/chat").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_to_a_backend_that_has_the_model() {
    story(async {
        let (first, second) = (backend(&[MODEL]).await?, backend(&[OTHER_MODEL]).await?);
        let gateway = Gateway::start(&[first.url(), second.url()]).await?;
        for _ in 0..5 {
            assert_eq!(gateway.chat(OTHER_MODEL).await?, 200);
        }
        assert_eq!((served(&first), served(&second)), (0, 5));
        assert_eq!(gateway.chat("missing:1b").await?, 404);
        // The lists have the models of both.
        for (path, list, name) in [("/api/tags", "models", "name"), ("/v1/models", "data", "id")] {
            let listed = fetch_json(gateway.workload.get(path)).await?;
            let models = listed[list].as_array().context("a list")?;
            let names: BTreeSet<&str> = models.iter().filter_map(|model| model[name].as_str()).collect();
            assert_eq!(names, BTreeSet::from([MODEL, OTHER_MODEL]), "{path}");
        }
        let models = fetch_json(gateway.admin.get("/models")).await?;
        ensure!(models.to_string().contains(&first.url()) && models.to_string().contains(&second.url()), "{models}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_backends_share_the_requests() {
    story(async {
        let backends = [backend(&[MODEL]).await?, backend(&[MODEL]).await?, backend(&[MODEL]).await?];
        let gateway = Gateway::start(&backends.each_ref().map(FakeOllama::url)).await?;
        for _ in 0..10 {
            let statuses = try_join_all((0..6).map(|_| gateway.chat(MODEL))).await?;
            ensure!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        }
        let shares = backends.each_ref().map(served);
        ensure!(shares.iter().all(|share| (10..=30).contains(share)), "{shares:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_the_loaded_model_comes_first() {
    story(async {
        let backends = [backend(&[MODEL]).await?, backend(&[MODEL]).await?];
        let loaded = json!({"models": [{"name": MODEL, "model": MODEL, "size": 1, "digest": "d", "size_vram": 1}]});
        backends[1].script("/api/ps", Script::json(StatusCode::OK, &loaded));
        let gateway = Gateway::start(&backends.each_ref().map(FakeOllama::url)).await?;
        for _ in 0..6 {
            assert_eq!(gateway.chat(MODEL).await?, 200);
        }
        assert_eq!(backends.each_ref().map(served), [0, 6]);
        // A busy backend does not keep the model for itself.
        backends[1].script("/api/chat", Script::ndjson(chat_lines(MODEL, 1).take(1)).ending(End::Hang));
        let open = try_join_all((0..6).map(|_| gateway.workload.post("/api/chat", &new_chat(MODEL)).send())).await?;
        ensure!(open.iter().all(|answer| answer.status() == 200), "{open:?}");
        ensure!(served(&backends[0]) > 0);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backend_loses_no_request_and_returns() {
    story(async {
        let (mut killed, other) = (backend(&[MODEL]).await?, backend(&[MODEL]).await?);
        let gateway = Gateway::start(&[killed.url(), other.url()]).await?;
        assert_eq!(gateway.chat(MODEL).await?, 200);
        killed.stop().await?;
        for _ in 0..20 {
            assert_eq!(gateway.chat(MODEL).await?, 200);
        }
        gateway.ejected(&killed.url()).await?;
        let before = served(&killed);
        killed.restart().await?;
        eventually("the backend's return", NOTICED, async || {
            assert_eq!(gateway.chat(MODEL).await?, 200);
            ensure!(served(&killed) > before, "no request yet");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        assert_eq!(gateway.problems().await?, []);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_backend_is_ejected() {
    story(async {
        let (frozen, other) = (backend(&[MODEL]).await?, backend(&[MODEL]).await?);
        let proxy = ChaosProxy::start("127.0.0.1", frozen.port()).await?;
        let url = format!("http://127.0.0.1:{}", proxy.port());
        let gateway = Gateway::start(&[url.clone(), other.url()]).await?;
        proxy.set_frozen(true);
        gateway.ejected(&url).await?;
        let before = served(&other);
        for _ in 0..10 {
            assert_eq!(gateway.chat(MODEL).await?, 200);
        }
        assert_eq!(served(&other), before + 10);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_ollama_and_a_server_that_is_no_ollama_are_named_and_not_used() {
    story(async {
        let (outdated, other) = (backend(&[MODEL]).await?, backend(&[MODEL]).await?);
        outdated.script("/api/version", Script::json(StatusCode::OK, &json!({"version": "0.16.3"})));
        let gateway = Gateway::start(&[outdated.url(), other.url()]).await?;
        let problem = gateway.ejected(&outdated.url()).await?;
        ensure!(problem.contains("0.16.3") && problem.contains("0.17.1"), "{problem}");
        for _ in 0..4 {
            assert_eq!(gateway.chat(MODEL).await?, 200);
        }
        assert_eq!(served(&outdated), 0);
        ensure!(gateway.paddock.process().log().text().contains("0.16.3"));
        let stranger = FakeOllama::start(&[]).await?;
        stranger.script("/api/tags", Script::json(StatusCode::OK, &json!("<html>")));
        let gateway = Gateway::start(&[other.url(), stranger.url()]).await?;
        gateway.ejected(&stranger.url()).await?;
        assert_eq!(gateway.chat(MODEL).await?, 200);
        Ok(())
    })
    .await;
}
