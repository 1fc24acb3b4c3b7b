//! Connections that do nothing, and those for which there is no place.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use http::StatusCode;
use paddock_api::{Config, ConnectionLimits};
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{End, Script, chat_lines};
use paddock_tests::story::story;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Api, MODEL};

/// Longer than any story takes.
const LONG: Duration = Duration::from_hours(1);
/// Sooner over than a story.
const SHORT: Duration = Duration::from_secs(1);
/// As long as a story waits for what must come.
const LIMIT: Duration = Duration::from_secs(10);
const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nHost: paddock\r\n\r\n";

/// The API with so many connections, which may keep still for ever.
const fn places(most: usize) -> ConnectionLimits {
    ConnectionLimits { max: most, first_byte: LONG, head: LONG, idle: LONG }
}

async fn with(connections: ConnectionLimits) -> Result<Api> {
    let database = Box::pin(Database::new(Engine::Sqlite)).await?;
    let mut api = Box::pin(Api::serve(database.url(), |config| Config { connections, ..config })).await?;
    api.database = Some(database);
    Ok(api)
}

/// A connection, and what is heard on it.
struct Line(TcpStream);

impl Line {
    async fn open(api: &Api) -> Result<Self> {
        let address = api.contract.url.strip_prefix("http://").context("an address")?;
        Ok(Self(TcpStream::connect(address).await?))
    }

    async fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.0.write_all(text.as_bytes()).await?)
    }

    /// Asks whether the process is alive, and hears that it is.
    async fn is_served(&mut self) -> Result<()> {
        self.say(HEALTHZ).await?;
        let answer = self.hears("{\"status\":\"ok\"}").await?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        Ok(())
    }

    /// What comes up to this.
    async fn hears(&mut self, end: &str) -> Result<String> {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let more = timeout(LIMIT, self.0.read_buf(&mut answer)).await.context("an answer")??;
            ensure!(more > 0, "hung up after {:?}", String::from_utf8_lossy(&answer));
        }
        Ok(String::from_utf8(answer)?)
    }

    /// What comes until it is hung up.
    async fn ends(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = timeout(LIMIT, self.0.read_to_end(&mut answer)).await.context("an end")?;
        Ok(String::from_utf8(answer)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_still_the_longest_makes_place() {
    story(async {
        let api = with(places(3)).await?;
        let mut silent = Line::open(&api).await?;
        let mut half = Line::open(&api).await?;
        half.say("GET /healthz HTTP/1.1\r\nHost: pad").await?;
        let mut idle = Line::open(&api).await?;
        idle.is_served().await?;
        // The story's own client had an idle one from before, which has made place already.
        let mut newer = [Line::open(&api).await?, Line::open(&api).await?];
        for (newer, older) in newer.iter_mut().zip([&mut silent, &mut half]) {
            newer.is_served().await?;
            ensure!(older.ends().await?.is_empty());
        }
        idle.is_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_work_keeps_its_place_and_others_are_told_to_come_back() {
    story(async {
        let api = with(places(2)).await?;
        let mut hanging = Script::ndjson(chat_lines(MODEL, 2)).ending(End::Hangs);
        // Without its last object the answer is not complete.
        hanging.frames.pop();
        api.fake.answer("/api/chat", hanging);
        let chat = json!({"model": MODEL, "messages": []});
        let mut streams = Vec::new();
        for _ in 0..2 {
            let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url));
            let answer = request.bearer_auth(&api.admin).json(&chat).send().await?.error_for_status()?;
            let mut frames = answer.bytes_stream();
            frames.next().await.context("a frame")??;
            streams.push(frames);
        }
        for _ in 0..3 {
            let mut other = Line::open(&api).await?;
            other.say(HEALTHZ).await?;
            let answer = other.ends().await?.to_ascii_lowercase();
            ensure!(answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
            ensure!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
        // Whoever has gone has made place.
        streams.pop();
        eventually("a place", LIMIT, async || Line::open(&api).await?.is_served().await).await?;
        let mut frames = streams.pop().context("a stream")?;
        while let Ok(frame) = timeout(SHORT, frames.next()).await {
            frame.context("the other stream was cut")??;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_no_work() {
    story(async {
        let api = with(places(2)).await?;
        let mut greedy = [Line::open(&api).await?, Line::open(&api).await?];
        for line in &mut greedy {
            // More than lies between us and them.
            line.say(&"GET /openapi.json HTTP/1.1\r\nHost: paddock\r\n\r\n".repeat(200)).await?;
        }
        eventually("a place", LIMIT, async || Line::open(&api).await?.is_served().await).await
    })
    .await;
}

#[rstest]
#[case::signing_in("POST /auth/login", false)]
#[case::going_on("POST /auth/refresh", false)]
#[case::a_stranger_at_the_gateway("POST /api/chat", false)]
#[case::a_user_at_the_gateway("POST /api/chat", true)]
#[case::an_admin("POST /users", true)]
#[case::anybody_who_waits_for_ollama("GET /", false)]
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_or_waits_for_others_is_no_work(#[case] request: &str, #[case] is_known: bool) {
    story(async {
        let api = with(places(2)).await?;
        api.fake.answer("/", Script::json(StatusCode::OK, &json!({})).headers_after(LONG));
        let [mut one, mut two] = [Line::open(&api).await?, Line::open(&api).await?];
        for line in [&mut one, &mut two] {
            line.say(&format!("{request} HTTP/1.1\r\nHost: paddock\r\nContent-Type: application/json\r\n")).await?;
            if is_known {
                line.say(&format!("Authorization: Bearer {}\r\n", api.admin)).await?;
            }
            if request.starts_with("POST ") {
                line.say("Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n").await?;
                // Now it is waited for.
                line.hears("HTTP/1.1 100 Continue\r\n\r\n").await?;
                line.say("{").await?;
            } else {
                line.say("\r\n").await?;
            }
        }
        if request == "GET /" {
            eventually("Ollama to be asked", LIMIT, async || {
                ensure!(api.fake.requests("/").len() == 2, "not yet");
                Ok(())
            })
            .await?;
        }
        let mut other = Line::open(&api).await?;
        other.is_served().await?;
        tokio::select! {
            ended = one.ends() => ended?,
            ended = two.ends() => ended?,
        };
        other.is_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_must_come_soon_and_the_next_may_take_its_time() {
    story(async {
        let api = with(ConnectionLimits { first_byte: SHORT, ..places(100) }).await?;
        let mut idle = Line::open(&api).await?;
        idle.is_served().await?;
        let mut silent = Line::open(&api).await?;
        ensure!(silent.ends().await?.is_empty());
        idle.is_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_and_an_idle_connection_have_their_time_too() {
    story(async {
        let api = with(ConnectionLimits { head: SHORT, ..places(100) }).await?;
        let mut slow = Line::open(&api).await?;
        slow.say("GET /healthz HTTP/1.1\r\n").await?;
        ensure!(slow.ends().await?.is_empty());

        let api = with(ConnectionLimits { idle: SHORT, ..places(100) }).await?;
        let mut idle = Line::open(&api).await?;
        idle.is_served().await?;
        ensure!(idle.ends().await?.is_empty());
        Ok(())
    })
    .await;
}
