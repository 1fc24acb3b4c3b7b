//! The connection limit: idle connections are evicted for new ones, and requests in progress are
//! not. Also tests the timeouts of idle connections.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use http::StatusCode;
use paddock_api::{Config, ConnectionLimits};
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    fake_ollama::{End, Script, chat_lines},
    story::story,
};
use rstest::rstest;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Api, MODEL};

/// A timeout that no story reaches.
const LONG: Duration = Duration::from_hours(1);
/// A timeout that a story waits for.
const SHORT: Duration = Duration::from_secs(1);
/// The time in which an expected event must happen.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nHost: paddock\r\n\r\n";

/// A limit of this many connections, which may stay idle forever.
const fn at_most(most: usize) -> ConnectionLimits {
    ConnectionLimits { max: most, first_byte: LONG, head: LONG, idle: LONG }
}

async fn start(connections: ConnectionLimits) -> Result<Api> {
    Api::start_with(Engine::Sqlite, |config| Config { connections, ..config }).await
}

/// A connection of raw bytes.
struct RawConnection(TcpStream);

impl RawConnection {
    async fn open(api: &Api) -> Result<Self> {
        let address = api.contract.url.strip_prefix("http://").context("an address")?;
        Ok(Self(TcpStream::connect(address).await?))
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.0.write_all(text.as_bytes()).await?)
    }

    /// Asserts that the server answers a request.
    async fn assert_served(&mut self) -> Result<()> {
        self.send(HEALTHZ).await?;
        let answer = self.read_until("{\"status\":\"ok\"}").await?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        Ok(())
    }

    /// Reads up to this text.
    async fn read_until(&mut self, end: &str) -> Result<String> {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let more = timeout(EVENT_TIMEOUT, self.0.read_buf(&mut answer)).await.context("an answer")??;
            ensure!(more > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        }
        Ok(String::from_utf8(answer)?)
    }

    /// Reads until the server closes the connection.
    async fn read_to_end(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        // A reset counts as an end.
        let _ = timeout(EVENT_TIMEOUT, self.0.read_to_end(&mut answer)).await.context("an end")?;
        Ok(String::from_utf8(answer)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_that_is_idle_the_longest_is_evicted() {
    story(async {
        let api = start(at_most(3)).await?;
        let mut silent = RawConnection::open(&api).await?;
        let mut half = RawConnection::open(&api).await?;
        half.send("GET /healthz HTTP/1.1\r\nHost: pad").await?;
        let mut idle = RawConnection::open(&api).await?;
        idle.assert_served().await?;
        // The idle connection of the fixture's own client is evicted first.
        let mut newer = [RawConnection::open(&api).await?, RawConnection::open(&api).await?];
        for (newer, older) in newer.iter_mut().zip([&mut silent, &mut half]) {
            newer.assert_served().await?;
            ensure!(older.read_to_end().await?.is_empty());
        }
        idle.assert_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_progress_is_not_evicted_and_new_connections_get_a_503() {
    story(async {
        let api = start(at_most(2)).await?;
        let mut hanging = Script::ndjson(chat_lines(MODEL, 2)).ending(End::Hang);
        // Without its last object the answer is incomplete.
        hanging.frames.pop();
        api.fake.script("/api/chat", hanging);
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
            let mut other = RawConnection::open(&api).await?;
            other.send(HEALTHZ).await?;
            let answer = other.read_to_end().await?.to_ascii_lowercase();
            ensure!(answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
            ensure!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
        // A closed connection frees its permit.
        streams.pop();
        eventually("a free permit", EVENT_TIMEOUT, async || RawConnection::open(&api).await?.assert_served().await)
            .await?;
        let mut frames = streams.pop().context("a stream")?;
        while let Ok(frame) = timeout(SHORT, frames.next()).await {
            frame.context("the other stream was cut")??;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_client_does_not_read_is_evicted() {
    story(async {
        let api = start(at_most(2)).await?;
        let mut unread = [RawConnection::open(&api).await?, RawConnection::open(&api).await?];
        for line in &mut unread {
            // More answers than the buffers between server and client hold.
            line.send(&"GET /openapi.json HTTP/1.1\r\nHost: paddock\r\n\r\n".repeat(200)).await?;
        }
        eventually("a free permit", EVENT_TIMEOUT, async || RawConnection::open(&api).await?.assert_served().await)
            .await
    })
    .await;
}

#[rstest]
#[case::signing_in("POST /auth/login", false)]
#[case::refreshing("POST /auth/refresh", false)]
#[case::a_user_at_the_gateway("POST /api/chat", true)]
#[case::an_admin("POST /users", true)]
#[case::waiting_for_ollama("GET /", false)]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_slowly_or_waits_for_ollama_is_evicted(
    #[case] request: &str,
    #[case] is_authenticated: bool,
) {
    story(async {
        let api = start(at_most(2)).await?;
        api.fake.script("/", Script::json(StatusCode::OK, &json!({})).headers_after(LONG));
        let [mut one, mut two] = [RawConnection::open(&api).await?, RawConnection::open(&api).await?];
        for line in [&mut one, &mut two] {
            line.send(&format!("{request} HTTP/1.1\r\nHost: paddock\r\nContent-Type: application/json\r\n")).await?;
            if is_authenticated {
                line.send(&format!("Authorization: Bearer {}\r\n", api.admin)).await?;
            }
            if request.starts_with("POST ") {
                line.send("Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n").await?;
                // The server reads the body now.
                line.read_until("HTTP/1.1 100 Continue\r\n\r\n").await?;
                line.send("{").await?;
            } else {
                line.send("\r\n").await?;
            }
        }
        if request == "GET /" {
            eventually("Ollama to be asked", EVENT_TIMEOUT, async || {
                ensure!(api.fake.requests("/").len() == 2, "not yet");
                Ok(())
            })
            .await?;
        }
        let mut other = RawConnection::open(&api).await?;
        other.assert_served().await?;
        tokio::select! {
            ended = one.read_to_end() => ended?,
            ended = two.read_to_end() => ended?,
        };
        other.assert_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_timeout_applies_to_the_first_request_only() {
    story(async {
        let api = start(ConnectionLimits { first_byte: SHORT, ..at_most(100) }).await?;
        let mut idle = RawConnection::open(&api).await?;
        idle.assert_served().await?;
        let mut silent = RawConnection::open(&api).await?;
        ensure!(silent.read_to_end().await?.is_empty());
        idle.assert_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_sent_too_slowly_closes_the_connection() {
    story(async {
        let api = start(ConnectionLimits { head: SHORT, ..at_most(100) }).await?;
        let mut slow = RawConnection::open(&api).await?;
        slow.send("GET /healthz HTTP/1.1\r\n").await?;
        ensure!(slow.read_to_end().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_idle_for_too_long_is_closed() {
    story(async {
        let api = start(ConnectionLimits { idle: SHORT, ..at_most(100) }).await?;
        let mut idle = RawConnection::open(&api).await?;
        idle.assert_served().await?;
        ensure!(idle.read_to_end().await?.is_empty());
        Ok(())
    })
    .await;
}
