//! The four timeouts of a request: each ends it in its time, and says which one it was.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::{End, Script, chat_events, chat_lines},
    paddock::Launch,
    recorded_answers::message_events,
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, chat, error_body::ErrorBody, streamed_chat_completion};

/// How much later than its timeout a request may end.
const TOLERANCE: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// What Ollama does.
#[derive(Clone, Copy, Debug)]
enum Upstream {
    /// It sends nothing.
    Silent,
    /// It sends the head alone.
    OnlyHead,
    /// It sends one frame, and then nothing.
    Stalling,
    /// It sends frames without end.
    Endless,
}

impl Upstream {
    fn script(self) -> Script {
        let lines = Script::ndjson(chat_lines(MODEL, 1_000));
        match self {
            Self::Silent => lines.headers_after(HOUR),
            Self::OnlyHead => Script { frames: Vec::new(), ..lines }.ending(End::Hang),
            Self::Stalling => Script { frames: lines.frames[..1].to_vec(), ..lines }.ending(End::Hang),
            Self::Endless => lines.every(Duration::from_millis(100)),
        }
    }
}

fn chat_without_stream() -> Value {
    let mut body = chat();
    body["stream"] = false.into();
    body
}

/// A timeout, and what it ends.
struct Limit {
    setting: &'static str,
    seconds: u64,
    reason: &'static str,
}

const HEADERS: Limit = Limit { setting: "UPSTREAM_HEADERS_TIMEOUT", seconds: 1, reason: "upstream_headers_timeout" };
const IDLE: Limit = Limit { setting: "UPSTREAM_IDLE_TIMEOUT", seconds: 1, reason: "upstream_idle_timeout" };
const TOTAL: Limit = Limit { setting: "UPSTREAM_TOTAL_TIMEOUT", seconds: 2, reason: "upstream_total_timeout" };
const LIFETIME: Limit = Limit { setting: "UPSTREAM_LIFETIME_TIMEOUT", seconds: 2, reason: "upstream_lifetime_timeout" };

impl Limit {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    async fn gateway(&self) -> Result<GatewayFixture> {
        GatewayFixture::with_settings(|launch| launch.env(self.setting, &format!("{}s", self.seconds))).await
    }

    fn assert_elapsed(&self, start: Instant) -> Result<()> {
        let took = start.elapsed();
        ensure!(took >= self.duration(), "ended after {took:?}, before {}", self.setting);
        ensure!(took <= self.duration() + TOLERANCE, "ended after {took:?} by {}", self.setting);
        Ok(())
    }
}

#[rstest]
#[case::headers(&HEADERS, Upstream::Silent, chat())]
#[case::idle_after_the_head(&IDLE, Upstream::OnlyHead, chat())]
#[case::total_of_no_stream(&TOTAL, Upstream::Silent, chat_without_stream())]
#[case::total_of_no_stream_under_way(&TOTAL, Upstream::Stalling, chat_without_stream())]
#[case::lifetime(&LIFETIME, Upstream::Silent, chat())]
#[case::lifetime_of_no_stream(&LIFETIME, Upstream::Silent, chat_without_stream())]
#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_before_the_first_byte_is_a_504_that_names_its_setting(
    #[case] limit: &Limit,
    #[case] upstream: Upstream,
    #[case] body: Value,
) {
    story(async {
        let gateway = limit.gateway().await?;
        gateway.fake.script("/api/chat", upstream.script());
        let start = Instant::now();
        let answer = gateway.workload.post("/api/chat", &body).header("X-Request-Id", "late").send().await?;
        limit.assert_elapsed(start)?;
        assert_eq!(answer.status(), 504);
        let error = ErrorBody::parse(&answer.text().await?)?;
        ensure!(error.message.contains(limit.setting), "{error:?}");
        let line = gateway.log_line("late").await?;
        ensure!(line["reason"] == limit.reason && line["outcome"] == "upstream_timeout", "{line}");
        assert_eq!(gateway.usage_rows(1).await?[0].http_status, 504);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::idle(&IDLE, Upstream::Stalling)]
#[case::total(&TOTAL, Upstream::Endless)]
#[case::lifetime(&LIFETIME, Upstream::Endless)]
#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_of_a_stream_is_an_error_event_that_names_its_setting(
    #[case] limit: &Limit,
    #[case] upstream: Upstream,
) {
    story(async {
        let gateway = limit.gateway().await?;
        gateway.fake.script("/api/chat", upstream.script());
        let start = Instant::now();
        let answer = gateway.workload.post("/api/chat", &chat()).header("X-Request-Id", "late").send().await?;
        assert_eq!(answer.status(), 200);
        let text = answer.text().await?;
        limit.assert_elapsed(start)?;
        let error = ErrorBody::at_end_of(&text)?;
        ensure!(error.message.contains(limit.setting), "{error:?}");
        let line = gateway.log_line("late").await?;
        ensure!(line["reason"] == limit.reason && line["outcome"] == "upstream_timeout", "{line}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_event_of_a_timeout_is_in_the_dialect_of_the_stream() {
    story(async {
        let gateway = IDLE.gateway().await?;
        let openai = Script::events(chat_events(MODEL, 3, true));
        let anthropic = Script::named_events(message_events(MODEL, 3));
        let message = json!({"model": MODEL, "max_tokens": 9, "stream": true, "messages": chat()["messages"]});
        for (path, body, script) in
            [("/v1/chat/completions", streamed_chat_completion(), openai), ("/v1/messages", message, anthropic)]
        {
            let stalling = Script { frames: script.frames[..2].to_vec(), ..script }.ending(End::Hang);
            gateway.fake.script(path, stalling);
            let text = gateway.workload.post(path, &body).send().await?.error_for_status()?.text().await?;
            let error = ErrorBody::at_end_of(&text)?;
            ensure!(error.message.contains(IDLE.setting), "{error:?}");
            let dialects = (error.dialect, paddock_ollama::dialect_of(path));
            ensure!(Some(dialects.0) == dialects.1, "{dialects:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_stream_outlives_the_timeout_of_the_headers() {
    story(async {
        let gateway = HEADERS.gateway().await?;
        let late = Script::ndjson(chat_lines(MODEL, 0)).headers_after(2 * HEADERS.duration());
        gateway.fake.script("/api/chat", late);
        let answer = gateway.workload.post("/api/chat", &chat_without_stream()).send().await?;
        assert_eq!(answer.status(), 200);
        ensure!(answer.json::<Value>().await?["done"] == true);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_stream_ends_by_the_total_and_not_by_the_headers() {
    story(async {
        let both = |launch: Launch| launch.env(HEADERS.setting, "1s").env(TOTAL.setting, "2s");
        let gateway = GatewayFixture::with_settings(both).await?;
        gateway.fake.script("/api/chat", Upstream::Silent.script());
        let start = Instant::now();
        let answer = gateway.workload.post("/api/chat", &chat_without_stream()).send().await?;
        TOTAL.assert_elapsed(start)?;
        assert_eq!(answer.status(), 504);
        let error = ErrorBody::parse(&answer.text().await?)?;
        ensure!(error.message.contains(TOTAL.setting), "{error:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::headers_and_total(&[("UPSTREAM_HEADERS_TIMEOUT", "2h"), ("UPSTREAM_TOTAL_TIMEOUT", "1h")])]
#[case::idle_and_total(&[("UPSTREAM_IDLE_TIMEOUT", "2m"), ("UPSTREAM_TOTAL_TIMEOUT", "1m")])]
#[case::total_and_lifetime(&[("UPSTREAM_TOTAL_TIMEOUT", "3h"), ("UPSTREAM_LIFETIME_TIMEOUT", "2h")])]
#[tokio::test(flavor = "multi_thread")]
async fn contradictory_timeouts_are_refused_naming_both(#[case] settings: &[(&str, &str)]) {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?;
        let launch = settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        for verb in ["config", "api", "run"] {
            let output = launch.command(&[verb])?.output()?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(2), "{verb}: {}: {text}", output.status);
            ensure!(settings.iter().all(|(name, _)| text.contains(name)), "{verb}: {text}");
        }
        Ok(())
    })
    .await;
}
