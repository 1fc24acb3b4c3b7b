//! Request heads that no client library sends: wrong hosts, malformed and large heads.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Api;

/// The most bytes of a head, as in `docs/api.md`.
const MAX_HEAD: usize = 128 << 10;

/// A head of `bytes` bytes.
fn head_of(bytes: usize) -> String {
    let start = "GET /healthz HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX: ";
    format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
}

/// The answer to these bytes, in lower case.
async fn answer_to(api: &Api, sent: &str) -> Result<String> {
    let address = api.contract.url.strip_prefix("http://").context("an address")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(sent.as_bytes()).await?;
    let mut answer = Vec::new();
    // The unread rest of a large head can end the connection with a reset.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8(answer)?.to_ascii_lowercase())
}

#[rstest]
#[case::none("GET /healthz HTTP/1.1\r\n")]
#[case::two("GET /healthz HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n")]
#[case::the_same_twice("GET /healthz HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n")]
#[case::malformed("GET /healthz HTTP/1.1\r\nHost: a.example/b\r\n")]
#[case::of_an_older_client("GET /healthz HTTP/1.0\r\nHost: a b\r\n")]
#[case::of_a_port_with_a_sign("GET /healthz HTTP/1.1\r\nHost: a.example:+80\r\n")]
#[case::by_a_page("GET /me HTTP/1.1\r\nOrigin: http://a.example\r\n")]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_one_host_is_refused(#[case] head: &str) {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let answer = answer_to(&api, &format!("{head}Connection: close\r\n\r\n{{}}")).await?;
        for part in ["http/1.", " 400 bad request\r\n", "application/problem+json", "/problems/malformed", "host"] {
            ensure!(answer.contains(part), "no {part:?} in {answer}");
        }
        for header in
            ["x-request-id: ", "x-content-type-options: nosniff", "content-security-policy: ", "x-frame-options: "]
        {
            ensure!(answer.contains(&format!("\r\n{header}")), "no {header:?} in {answer}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::root("GET / HTTP/1.1\r\n", "/error")]
#[case::native("POST /api/chat HTTP/1.1\r\nHost: a b\r\nContent-Length: 2\r\n", "/error")]
#[case::closed("POST /api/push HTTP/1.1\r\nHost: a b\r\nContent-Length: 2\r\n", "/error")]
#[case::openai("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n", "/error/message")]
#[case::anthropic("POST /v1/messages HTTP/1.1\r\nContent-Length: 2\r\n", "/error/message")]
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_refuses_a_wrong_host_in_its_clients_dialect(#[case] head: &str, #[case] message: &str) {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let answer = answer_to(&api, &format!("{head}Connection: close\r\n\r\n{{}}")).await?;
        for part in [" 400 bad request\r\n", "content-type: application/json\r\n", "\r\nx-request-id: "] {
            ensure!(answer.contains(part), "no {part:?} in {answer}");
        }
        let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
        let body: Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
        let said = body.pointer(message).and_then(Value::as_str).with_context(|| body.to_string())?;
        ensure!(said.contains("host"), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_needs_no_host() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        for head in ["GET /healthz HTTP/1.0", "GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close"] {
            let answer = answer_to(&api, &format!("{head}\r\n\r\n")).await?;
            ensure!(answer.contains(" 200 ok\r\n") && answer.contains("\r\nx-request-id: "), "{answer}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_or_too_large_head_gets_a_bare_answer() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let long = "a".repeat(200 << 10);
        let bare = [
            ("G E T\r\n\r\n".to_owned(), " 400 "),
            (format!("GET /{long} HTTP/1.1\r\nHost: a.example\r\n\r\n"), " 4"),
            (format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {long}\r\n\r\n"), " 431 "),
            // One header more than the server accepts.
            (format!("GET /healthz HTTP/1.1\r\nHost: a.example\r\n{}\r\n", "X: 1\r\n".repeat(100)), " 431 "),
            (head_of(MAX_HEAD + 1), " 431 "),
        ];
        for (sent, status) in bare {
            let answer = answer_to(&api, &sent).await?;
            ensure!(answer.starts_with(&format!("http/1.1{status}")) && answer.ends_with("\r\n\r\n"), "{answer}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_head_is_accepted() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let many = "X: 1\r\n".repeat(98);
        let many = format!("GET /healthz HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{many}\r\n");
        for sent in [many, head_of(MAX_HEAD)] {
            let answer = answer_to(&api, &sent).await?;
            ensure!(answer.starts_with("http/1.1 200 "), "{answer}");
        }
        Ok(())
    })
    .await;
}
