//! Requests that are refused by their head: the client gets the final status before it sends its
//! body.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_ollama::Dialect;
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{Script, chat_lines},
    story::story,
};
use rstest::rstest;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{GatewayFixture, MODEL, chat, error_body::ErrorBody};

/// In this time every answer has come.
const ANSWER: Duration = Duration::from_secs(5);
/// The announced length of a body that the gateway accepts, in bytes.
const ACCEPTED: usize = 1000;
/// The length of a body that fits into no buffer, and that the gateway accepts.
const LARGE: usize = 12 << 20;
/// One byte more than the gateway accepts.
const TOO_LONG: usize = (32 << 20) + 1;

/// A connection of raw bytes.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    async fn open(gateway: &GatewayFixture) -> Result<Self> {
        let stream = TcpStream::connect(gateway.paddock.url().trim_start_matches("http://")).await?;
        Ok(Self { stream, received: Vec::new() })
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes()).await?)
    }

    /// Reads up to the end of a head, and returns it in lower case.
    async fn head(&mut self) -> Result<String> {
        let length = self.read_until("the head of an answer", |received| find(received, b"\r\n\r\n")).await? + 4;
        Ok(String::from_utf8(self.received.drain(..length).collect())?.to_ascii_lowercase())
    }

    /// Reads an answer with `Content-Length`, and returns its status and its body.
    async fn answer(&mut self) -> Result<(u16, String)> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.with_context(|| head.clone())?.parse()?;
        self.read_until("the body", |received| (received.len() >= length).then_some(length)).await?;
        Ok((status, String::from_utf8(self.received.drain(..length).collect())?))
    }

    async fn read_until(&mut self, what: &str, end: impl Fn(&[u8]) -> Option<usize>) -> Result<usize> {
        loop {
            if let Some(end) = end(&self.received) {
                return Ok(end);
            }
            let read = timeout(ANSWER, self.stream.read_buf(&mut self.received)).await;
            let count = read.with_context(|| what.to_owned())??;
            ensure!(count > 0, "closed before {what}");
        }
    }
}

fn find(received: &[u8], text: &[u8]) -> Option<usize> {
    memchr::memmem::find(received, text)
}

/// The head of a POST with a body of `length` bytes, and with these headers.
fn head(path: &str, key: &str, length: usize, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    )
}

/// A head that is refused.
#[derive(Clone, Copy, Debug)]
enum Refused {
    WrongKey,
    MissingScope,
    TooLong,
    Compressed,
    ClosedPath,
    UnknownPath,
    WrongMethod,
}

impl Refused {
    /// Sends the head, with these headers besides, and returns the status and the error.
    async fn answer(self, gateway: &GatewayFixture, headers: &str) -> Result<(u16, ErrorBody)> {
        let without_scope = {
            let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
            gateway.admin.create_key(user, json!({"scopes": ["embed"]})).await?.1
        };
        let key = gateway.workload.key();
        let compressed = format!("Content-Encoding: gzip\r\n{headers}");
        let head = match self {
            Self::WrongKey => head("/v1/messages", "pdk_wrong", ACCEPTED, headers),
            Self::MissingScope => head("/v1/messages", without_scope.key(), ACCEPTED, headers),
            Self::TooLong => head("/v1/messages", key, TOO_LONG, headers),
            Self::Compressed => head("/v1/messages", key, ACCEPTED, &compressed),
            Self::ClosedPath => head("/api/push", key, ACCEPTED, headers),
            Self::UnknownPath => head("/v1/messages/batches", key, ACCEPTED, headers),
            Self::WrongMethod => head("/v1/models", key, ACCEPTED, headers),
        };
        let mut connection = Connection::open(gateway).await?;
        connection.send(&head).await?;
        let (status, body) = connection.answer().await?;
        Ok((status, ErrorBody::parse(&body)?))
    }
}

/// The first answer is the final one. A `100 Continue` would come first.
#[rstest]
#[case::wrong_key(Refused::WrongKey, 401, Dialect::Anthropic)]
#[case::missing_scope(Refused::MissingScope, 403, Dialect::Anthropic)]
#[case::too_long(Refused::TooLong, 413, Dialect::Anthropic)]
#[case::compressed(Refused::Compressed, 415, Dialect::Anthropic)]
#[case::closed_path(Refused::ClosedPath, 403, Dialect::Ollama)]
#[case::unknown_path(Refused::UnknownPath, 404, Dialect::Anthropic)]
#[case::wrong_method(Refused::WrongMethod, 405, Dialect::OpenAi)]
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_refused_is_answered_before_its_body(
    #[case] refused: Refused,
    #[case] status: u16,
    #[case] dialect: Dialect,
) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for headers in ["Expect: 100-continue\r\n", ""] {
            let (got, error) = refused.answer(&gateway, headers).await?;
            ensure!(got == status, "{headers:?}: {got} {error:?}");
            ensure!(error.dialect == dialect, "{headers:?}: {error:?}");
        }
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}

/// A client that does not read before it has sent its whole body gets the refusal too.
#[rstest]
#[case::wrong_key("/v1/messages", "pdk_wrong", 401)]
#[case::unknown_path("/api/unknown", "pdk_wrong", 404)]
#[case::closed_path("/api/push", "pdk_wrong", 401)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_sends_a_large_body_first(
    #[case] path: &str,
    #[case] key: &str,
    #[case] status: u16,
) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let mut connection = Connection::open(&gateway).await?;
        connection.send(&head(path, key, LARGE, "")).await?;
        connection.send(&" ".repeat(LARGE)).await?;
        assert_eq!(connection.answer().await?.0, status);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_wanted_is_asked_for() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let body = chat().to_string();
        let mut connection = Connection::open(&gateway).await?;
        let head = head("/api/chat", gateway.workload.key(), body.len(), "Expect: 100-continue\r\n");
        connection.send(&head).await?;
        assert_eq!(connection.head().await?, "http/1.1 100 continue\r\n\r\n");
        connection.send(&body).await?;
        let head = connection.head().await?;
        ensure!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(gateway.fake.requests("/api/chat")[0].body, body);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_is_refused_when_it_gets_too_long() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let mut connection = Connection::open(&gateway).await?;
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            gateway.workload.key()
        );
        connection.send(&head).await?;
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
        // The last chunk is over the limit, and no end follows.
        for _ in 0..33 {
            connection.send(&chunk).await?;
        }
        let (status, body) = connection.answer().await?;
        ensure!(status == 413, "{status}: {body}");
        assert_eq!(ErrorBody::parse(&body)?.dialect, Dialect::Ollama);
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}

/// Each connection holds its body open. The first two are accepted, because they ask for no more than
/// the share of one user.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_large_unfinished_bodies_leaves_memory_for_others() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let almost = " ".repeat(TOO_LONG - 2);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut connection = Connection::open(&gateway).await?;
            connection.send(&head("/api/chat", gateway.workload.key(), TOO_LONG - 1, "")).await?;
            connection.send(&almost).await?;
            held.push(connection);
        }
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, other) = gateway.admin.create_key(user, json!({})).await?;
        let mut body = chat();
        body["messages"][0]["content"] = "x".repeat(LARGE).into();
        let refused = eventually("a refusal", ANSWER, async || {
            let answer = gateway.workload.post("/api/chat", &body).send().await?;
            let status = answer.status();
            ensure!(status == 503 && answer.headers().contains_key("retry-after"), "{status}");
            ErrorBody::parse(&answer.text().await?)
        });
        assert_eq!(refused.await?.dialect, Dialect::Ollama);
        other.post("/api/chat", &body).send().await?.error_for_status()?.bytes().await?;

        drop(held);
        eventually("the memory of the closed connections", ANSWER, async || {
            gateway.workload.post("/api/chat", &body).send().await?.error_for_status()
        })
        .await?;
        Ok(())
    })
    .await;
}
