//! Limits of tokens and of concurrent requests: what is reserved, settled, returned and refused.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, future::try_join_all};
use paddock_ollama::Dialect;
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{End, Script, chat_lines},
    paddock::{Caller, fetch_json},
    process::Signal,
    story::story,
};
use reqwest::{Response, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, chat, error_body::ErrorBody};

const SETTLED: Duration = Duration::from_secs(10);

impl GatewayFixture {
    /// A new user with these limits, and a key of it with these.
    async fn limited(&self, of_user: Value, of_key: Value) -> Result<Caller> {
        let user = self.admin.create_user(json!({"roles": ["user"], "limits": of_user})).await?;
        Ok(self.admin.create_key(user, json!({"limits": of_key})).await?.1)
    }
}

/// The state of one limit of the user, as the caller sees it.
async fn state(caller: &Caller, name: &str) -> Result<Value> {
    Ok(fetch_json(caller.get("/me/usage")).await?["limits"]["user"][name].clone())
}

/// Waits until no request of the caller is in flight, and returns the used tokens of today.
async fn settled(caller: &Caller) -> Result<i64> {
    eventually("a settled reservation", SETTLED, async || {
        let today = state(caller, "tokens_per_day").await?;
        ensure!(today["reserved"] == 0, "{today}");
        today["used"].as_i64().context("a number")
    })
    .await
}

/// A stream that sends a frame and then nothing more.
fn endless() -> Script {
    Script::ndjson(chat_lines(MODEL, 1).take(1)).ending(End::Hang)
}

/// Sends a chat whose response may have this many tokens.
async fn send(caller: &Caller, num_predict: u64) -> Result<Response> {
    let mut body = chat();
    body["options"] = json!({"num_predict": num_predict});
    Ok(caller.post("/api/chat", &body).send().await?)
}

/// The seconds in `Retry-After`.
fn retry_after(answer: &Response) -> Result<u64> {
    Ok(answer.headers().get("retry-after").context("Retry-After")?.to_str()?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_parallel_streams_one_runs_and_then_the_day_is_used_up() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 20)).every(Duration::from_millis(50)));
        let caller = gateway.limited(json!({}), json!({"max_concurrent": 1, "tokens_per_day": 10})).await?;
        let answers = try_join_all((0..5).map(|_| send(&caller, 20))).await?;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 429, 429, 429, 429]);
        for answer in answers {
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(retry_after(&answer)?, 1);
            }
            answer.bytes().await?;
        }
        gateway.usage_rows(1).await?;
        let next = send(&caller, 20).await?;
        assert_eq!(next.status(), StatusCode::TOO_MANY_REQUESTS);
        ensure!((1..=86_400).contains(&retry_after(&next)?), "{next:?}");
        ensure!(ErrorBody::parse(&next.text().await?)?.message.contains("tokens_per_day"));
        assert_eq!(gateway.fake.requests("/api/chat").len(), 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::ollama("/api/chat", Dialect::Ollama, None)]
#[case::openai("/v1/chat/completions", Dialect::OpenAi, Some("tokens_per_month"))]
#[case::anthropic("/v1/messages", Dialect::Anthropic, None)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_form_of_the_dialect_and_takes_no_request(
    #[case] path: &str,
    #[case] dialect: Dialect,
    #[case] code: Option<&str>,
) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let caller = gateway.limited(json!({"requests_per_minute": 5, "tokens_per_month": 0}), json!({})).await?;
        let mut body = chat();
        body["max_tokens"] = 9.into();
        for _ in 0..7 {
            let answer = caller.post(path, &body).send().await?;
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(answer.headers()["x-ratelimit-remaining"], "5");
            retry_after(&answer)?;
            let error = ErrorBody::parse(&answer.text().await?)?;
            assert_eq!((error.dialect, error.code.as_deref()), (dialect, code));
            ensure!(error.message.contains("tokens_per_month"), "{}", error.message);
        }
        assert_eq!(state(&caller, "requests_per_minute").await?["left"], 4);
        let refused =
            gateway.counter("paddock_limits_exceeded_total{limit=\"user\",reason=\"tokens_per_month\"}").await?;
        assert_eq!(refused, 7);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reserves_its_prompt_and_its_num_predict_and_pays_what_ollama_reports() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let caller = gateway.limited(json!({"tokens_per_day": 100_000, "max_concurrent": 4}), json!({})).await?;
        gateway.fake.script("/api/chat", endless());
        let mut open = send(&caller, 1000).await?.bytes_stream();
        open.next().await.context("a frame")??;
        let today = state(&caller, "tokens_per_day").await?;
        // A quarter of the bytes of the messages.
        let prompt = chat()["messages"].to_string().len().div_ceil(4);
        assert_eq!((&today["used"], &today["reserved"]), (&json!(0), &json!(1000 + prompt)));
        assert_eq!(today["left"], json!(99_000 - prompt));
        let concurrent = state(&caller, "max_concurrent").await?;
        assert_eq!((&concurrent["in_flight"], &concurrent["left"]), (&json!(1), &json!(3)));
        drop(open);
        // A client that leaves pays for its prompt, and for the frame that it got.
        assert_eq!(settled(&caller).await?, i64::try_from(prompt)? + 1);
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 8)));
        send(&caller, 1000).await?.error_for_status()?.bytes().await?;
        eventually("the reported tokens", SETTLED, async || {
            let used = settled(&caller).await?;
            ensure!(used == i64::try_from(prompt)? + 1 + 31 + 8, "{used}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_limit_applies_at_once() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let user = gateway.admin.create_user(json!({"roles": ["user"], "limits": {"tokens_per_day": 1}})).await?;
        let caller = gateway.admin.create_key(user, json!({})).await?.1;
        send(&caller, 1).await?.error_for_status()?.bytes().await?;
        gateway.usage_rows(1).await?;
        for _ in 0..3 {
            assert_eq!(send(&caller, 1).await?.status(), StatusCode::TOO_MANY_REQUESTS);
        }
        let raised = json!({"limits": {"tokens_per_day": 1000}});
        fetch_json(gateway.admin.patch(&format!("/users/{user}"), &raised)).await?;
        send(&caller, 1).await?.error_for_status()?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_one_after_the_other_are_never_concurrent() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let caller = gateway.limited(json!({"max_concurrent": 1}), json!({})).await?;
        for _ in 0..20 {
            send(&caller, 1).await?.error_for_status()?.bytes().await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_did_not_reach_ollama_pays_nothing() {
    story(async {
        let mut gateway = GatewayFixture::start().await?;
        let caller = gateway.limited(json!({"tokens_per_day": 100_000}), json!({})).await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        send(&caller, 9).await?.error_for_status()?.bytes().await?;
        gateway.usage_rows(1).await?;
        let used = settled(&caller).await?;
        gateway.fake.stop().await?;
        assert_eq!(send(&caller, 9).await?.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(settled(&caller).await?, used);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_user_and_key_apply_together() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", endless());
        let user = gateway.admin.create_user(json!({"roles": ["user"], "limits": {"max_concurrent": 3}})).await?;
        let key = async |limits: Value| Ok::<_, anyhow::Error>(gateway.admin.create_key(user, limits).await?.1);
        let narrow = key(json!({"limits": {"max_concurrent": 1}})).await?;
        let wide = key(json!({})).await?;
        let mut open = vec![send(&narrow, 1).await?.error_for_status()?];
        let refused = send(&narrow, 1).await?;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        ensure!(refused.text().await?.contains("this key"));
        for _ in 0..2 {
            open.push(send(&wide, 1).await?.error_for_status()?);
        }
        let refused = send(&wide, 1).await?;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        ensure!(refused.text().await?.contains("this user"));
        // The place of the client that leaves is free again.
        open.pop();
        eventually("a free place", SETTLED, async || {
            open.push(send(&wide, 1).await?.error_for_status()?);
            Ok::<_, anyhow::Error>(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_of_a_sqlite_file_keeps_nothing_reserved() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", endless());
        let limits = json!({"max_concurrent": 1, "tokens_per_day": 5000});
        let caller = gateway.limited(limits, json!({})).await?;
        let open = send(&caller, 4999).await?.error_for_status()?;
        gateway.paddock.process().signal(Signal::Kill)?;
        gateway.paddock.process().wait_for_exit(SETTLED).await?;
        drop(open);
        let launch = paddock_tests::paddock::Launch::new(&["api"], gateway.database.url())?.ollama(&gateway.fake.url());
        let paddock = launch.start().await?;
        let caller = paddock.caller(caller.key());
        send(&caller, 1).await?.error_for_status()?;
        Ok(())
    })
    .await;
}
