//! The queue in front of a model: fairness, refusals, and requests that leave it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{End, Script, chat_lines},
    paddock::{Caller, fetch_json},
    story::story,
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, OTHER_MODEL, error_body::refused};

const NOTICED: Duration = Duration::from_secs(20);

/// A gateway that runs one request of a model at a time, with these further settings.
async fn start(settings: &[(&str, &str)]) -> Result<GatewayFixture> {
    GatewayFixture::with_settings(|launch| {
        let launch = launch.env("MAX_CONCURRENT_PER_MODEL", "1").env("RATE_LIMIT_PER_MINUTE", "100000");
        settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    })
    .await
}

fn chat_of(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}], "options": {"num_predict": 9}})
}

/// A response that takes this long.
fn slow(time: Duration) -> Script {
    Script::ndjson(chat_lines(MODEL, 1)).headers_after(time)
}

fn endless() -> Script {
    Script::ndjson(chat_lines(MODEL, 1).take(1)).ending(End::Hang)
}

async fn send(caller: &Caller, model: &str, text: &str) -> Result<Response> {
    Ok(caller.post("/api/chat", &chat_of(model, text)).send().await?)
}

/// Waits until this many requests wait.
async fn waiting(gateway: &GatewayFixture, count: u64) -> Result<()> {
    eventually(&format!("{count} waiting requests"), NOTICED, async || {
        let mut found = 0;
        for band in ["interactive", "batch"] {
            found += gateway.counter(&format!("paddock_queue_waiting{{band=\"{band}\"}}")).await?;
        }
        ensure!(found == count, "{found}");
        Ok(())
    })
    .await
}

/// The texts of the requests that reached Ollama, in order.
fn order(gateway: &GatewayFixture) -> Vec<String> {
    let text = |body: Value| body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    gateway.fake.requests("/api/chat").iter().map(|request| text(request.json())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_of_one_user_delay_another_user_by_one_turn() {
    story(async {
        let gateway = start(&[]).await?;
        gateway.fake.script("/api/chat", slow(Duration::from_millis(20)));
        let other = gateway.admin.create_workload().await?;
        let busy = async {
            let answers = try_join_all((0..100).map(|_| send(&gateway.workload, MODEL, "busy"))).await?;
            ensure!(answers.iter().all(|answer| answer.status() == 200), "{answers:?}");
            anyhow::Ok(())
        };
        let single = async {
            eventually("a long queue", NOTICED, async || {
                let found = gateway.counter("paddock_queue_waiting{band=\"interactive\"}").await?;
                ensure!(found > 40, "{found}");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            let before = order(&gateway).len();
            send(&other, MODEL, "single").await?.error_for_status()?;
            anyhow::Ok(before)
        };
        let ((), before) = tokio::try_join!(busy, single)?;
        let order = order(&gateway);
        let place = order.iter().position(|text| text == "single").context("the single request")?;
        // Requests that ended while the single one was on its way are no turns of the queue.
        ensure!(place <= before + 3, "{before} {place}");
        assert_eq!(order.len(), 101);
        waiting(&gateway, 0).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_takes_nothing_from_the_limits() {
    story(async {
        let gateway = start(&[("QUEUE_SIZE", "1")]).await?;
        gateway.fake.script("/api/chat", endless());
        let limits = json!({"requests_per_minute": 9, "tokens_per_day": 100_000});
        let user = gateway.admin.create_user(json!({"roles": ["user"], "limits": limits})).await?;
        let limited = gateway.admin.create_key(user, json!({})).await?.1;
        let occupied = async {
            // One request runs and one waits, until the stories' end.
            join_all((0..2).map(|_| send(&gateway.workload, MODEL, "busy"))).await;
            anyhow::Ok(())
        };
        let story = async {
            waiting(&gateway, 1).await?;
            let answer = send(&limited, MODEL, "more").await?;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            ensure!(answer.headers().contains_key("retry-after"), "{answer:?}");
            let request = limited.post("/v1/chat/completions", &chat_of(MODEL, "more"));
            assert_eq!(refused(request, 503).await?.code.as_deref(), Some("queue_full"));
            assert_eq!(
                gateway.counter("paddock_queue_refused_total{reason=\"queue_full\",band=\"interactive\"}").await?,
                2
            );
            eventually("the returned reservations", NOTICED, async || {
                let limits = fetch_json(limited.get("/me/usage")).await?["limits"]["user"].clone();
                ensure!(limits["tokens_per_day"]["left"] == 100_000, "{limits}");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            // Only the requests for the usage count.
            let limits = fetch_json(limited.get("/me/usage")).await?["limits"]["user"].clone();
            ensure!(limits["requests_per_minute"]["left"].as_u64().is_some_and(|left| left >= 4), "{limits}");
            // Another model has places of its own.
            gateway.fake.script("/api/chat", slow(Duration::ZERO));
            send(&limited, OTHER_MODEL, "other").await?.error_for_status()?;
            Ok(())
        };
        tokio::select! {
            result = occupied => result,
            result = story => result,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_timeout_at_most() {
    story(async {
        let gateway = start(&[("QUEUE_TIMEOUT", "200ms")]).await?;
        gateway.fake.script("/api/chat", endless());
        let _running = send(&gateway.workload, MODEL, "first").await?.error_for_status()?;
        let request = gateway.workload.post("/v1/chat/completions", &chat_of(MODEL, "second"));
        assert_eq!(refused(request, 503).await?.code.as_deref(), Some("queue_timeout"));
        assert_eq!(
            gateway.counter("paddock_queue_refused_total{reason=\"queue_timeout\",band=\"interactive\"}").await?,
            1
        );
        assert_eq!(gateway.counter("paddock_queue_wait_seconds_count{band=\"interactive\"}").await?, 1);
        waiting(&gateway, 0).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_and_a_revoked_key_leave_the_queue() {
    story(async {
        let gateway = start(&[]).await?;
        gateway.fake.script("/api/chat", endless());
        let running = send(&gateway.workload, MODEL, "first").await?.error_for_status()?;
        {
            let mut leaving = Box::pin(send(&gateway.workload, MODEL, "leaves"));
            tokio::select! {
                answer = &mut leaving => anyhow::bail!("{answer:?}"),
                queued = waiting(&gateway, 1) => queued?,
            }
        }
        waiting(&gateway, 0).await?;
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let (id, revoked) = gateway.admin.create_key(user, json!({})).await?;
        let (answer, ()) = tokio::try_join!(send(&revoked, MODEL, "revoked"), async {
            waiting(&gateway, 1).await?;
            gateway.admin.post(&format!("/credentials/{id}/revoke"), &json!({})).send().await?.error_for_status()?;
            Ok(())
        })?;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        waiting(&gateway, 0).await?;
        gateway.fake.script("/api/chat", slow(Duration::ZERO));
        drop(running);
        send(&gateway.workload, MODEL, "next").await?.error_for_status()?;
        assert_eq!(order(&gateway), ["first", "next"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interactive_requests_come_before_batch_which_gets_every_fifth_turn() {
    story(async {
        let gateway = start(&[]).await?;
        gateway.fake.script("/api/chat", endless());
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let night = gateway.admin.create_key(user, json!({"priority": "batch"})).await?.1;
        let running = send(&gateway.workload, MODEL, "first").await?.error_for_status()?;
        let batch = (0..2).map(|_| send(&night, MODEL, "batch"));
        let interactive = async {
            waiting(&gateway, 2).await?;
            let requests = try_join_all((0..6).map(|_| send(&gateway.workload, MODEL, "interactive")));
            let release = async {
                waiting(&gateway, 8).await?;
                assert_eq!(gateway.counter("paddock_queue_waiting{band=\"batch\"}").await?, 2);
                gateway.fake.script("/api/chat", slow(Duration::from_millis(50)));
                drop(running);
                anyhow::Ok(())
            };
            tokio::try_join!(requests, release)
        };
        let (batch, (interactive, ())) = tokio::try_join!(try_join_all(batch), interactive)?;
        ensure!(batch.iter().chain(&interactive).all(|answer| answer.status() == 200), "{batch:?} {interactive:?}");
        let before_batch = ["first"].into_iter().chain(["interactive"; 4]);
        let expected: Vec<_> = before_batch.chain(["batch"]).chain(["interactive"; 2]).chain(["batch"]).collect();
        assert_eq!(order(&gateway), expected);
        assert_eq!(gateway.counter("paddock_queue_wait_seconds_count{band=\"batch\"}").await?, 2);
        assert_eq!(gateway.counter("paddock_queue_position_count{band=\"interactive\"}").await?, 6);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_gives_the_place_of_a_batch_request_to_an_interactive_one() {
    story(async {
        let gateway = start(&[("QUEUE_SIZE", "1")]).await?;
        gateway.fake.script("/api/chat", endless());
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let night = gateway.admin.create_key(user, json!({"priority": "batch"})).await?.1;
        let running = send(&gateway.workload, MODEL, "first").await?.error_for_status()?;
        let interactive = async {
            waiting(&gateway, 1).await?;
            send(&gateway.workload, MODEL, "second").await
        };
        let release = async {
            eventually("the displaced request", NOTICED, async || {
                let refused = "paddock_queue_refused_total{reason=\"queue_full\",band=\"batch\"}";
                ensure!(gateway.counter(refused).await? == 1, "none yet");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            gateway.fake.script("/api/chat", slow(Duration::ZERO));
            drop(running);
            anyhow::Ok(())
        };
        let batch = send(&night, MODEL, "batch");
        let (batch, interactive, ()) = tokio::try_join!(batch, interactive, release)?;
        assert_eq!((batch.status(), interactive.status()), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
        assert_eq!(order(&gateway), ["first", "second"]);
        Ok(())
    })
    .await;
}
