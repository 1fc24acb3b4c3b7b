use std::net::SocketAddr;

use futures_util::StreamExt;
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const WAIT: Duration = Duration::from_secs(20);

fn client_at(address: SocketAddr) -> Client {
    let timeouts = Timeouts { connect: WAIT, request: WAIT, pull_idle: WAIT };
    Client::new(&format!("http://{address}"), timeouts).expect("a client")
}

/// Reads a request whole: its head and as much body as the head says.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.expect("a request");
        assert!(count > 0, "the client left before its request was whole: {text}");
        read.extend_from_slice(&buffer[..count]);
    }
}

/// A server that answers one request with these pieces of a body and closes the connection; it returns the request.
async fn server(status: &'static str, body: Vec<String>) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request = read_request(&mut stream).await;
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("written");
        for piece in body {
            stream.write_all(piece.as_bytes()).await.expect("written");
            stream.flush().await.expect("written");
        }
        request
    });
    (client_at(address), served)
}

fn name(text: &str) -> ModelName {
    ModelName::parse(text).expect("a name")
}

#[tokio::test]
async fn version_and_tags_are_read() {
    let (client, _) = server("200 OK", vec![r#"{"version":"0.32.15"}"#.to_owned()]).await;
    assert_eq!(client.version().await.expect("a version"), "0.32.15");

    let tags = r#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-01T00:00:00+02:00","size":98,"digest":"ab","details":{}},
        {"name":"far:latest","remote_host":"https://ollama.com:443","remote_model":"far","size":1,"digest":"cd"},
        {"name":"odd name","remote_host":"","size":1,"digest":"ef"},{"name":"m:cloud","size":1,"digest":"01"}]}"#;
    let (client, served) = server("200 OK", vec![tags.to_owned()]).await;
    let tags = client.tags().await.expect("tags");
    let told: Vec<_> =
        tags.iter().map(|tag| (tag.name.as_str(), tag.size, tag.is_remote(), tag.model().is_ok())).collect();
    assert_eq!(
        told,
        [
            ("smollm2:135m", 98, false, true),
            ("far:latest", 1, true, true),
            ("odd name", 1, false, false),
            ("m:cloud", 1, true, true)
        ]
    );
    assert!(served.await.expect("served").starts_with("GET /api/tags HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_model_that_is_not_there_is_no_error() {
    let gone = || server("404 Not Found", vec![r#"{"error":"model 'x' not found"}"#.to_owned()]);
    let (client, _) = gone().await;
    assert!(client.show(&name("x")).await.expect("an answer").is_none());
    let (client, _) = gone().await;
    assert!(!client.delete(&name("x")).await.expect("an answer"));

    let (client, served) = server("200 OK", vec![]).await;
    assert!(client.delete(&name("X")).await.expect("an answer"));
    let request = served.await.expect("served");
    assert!(request.starts_with("DELETE /api/delete "), "{request}");
    assert!(request.ends_with(r#"{"model":"registry.ollama.ai/library/x:latest"}"#), "{request}");

    let show =
        r#"{"capabilities":["completion"],"details":{"family":"llama","quantization_level":"Q4_1"},"model_info":{}}"#;
    let (client, _) = server("200 OK", vec![show.to_owned()]).await;
    let show = client.show(&name("x")).await.expect("an answer").expect("a model");
    assert_eq!(
        (show.capabilities, show.details.family, show.remote_host),
        (vec!["completion".to_owned()], "llama".to_owned(), None)
    );
}

#[tokio::test]
async fn each_failure_has_its_error() {
    let (client, _) = server("500 Internal Server Error", vec![r#"{"error":"disk full"}"#.to_owned()]).await;
    let error = client.tags().await.expect_err("an error");
    assert_eq!(error.to_string(), "Ollama answered 500 Internal Server Error: disk full");

    let (client, _) = server("302 Found", vec!["<html>".to_owned()]).await;
    let error = client.version().await.expect_err("no redirect is followed");
    assert!(matches!(error, ClientError::Status { status: StatusCode::FOUND, .. }), "{error:?}");

    let (client, _) = server("200 OK", vec!["<html>".to_owned()]).await;
    assert!(matches!(client.version().await, Err(ClientError::Protocol(_))));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    assert!(matches!(client_at(address).version().await, Err(ClientError::Unreachable(_))));

    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let timeouts =
        Timeouts { request: Duration::from_millis(50), pull_idle: Duration::from_millis(50), ..Timeouts::default() };
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let client = Client::new(&url, timeouts).expect("a client");
    assert!(matches!(client.version().await, Err(ClientError::Timeout)));
    let pulled = client.pull(&name("m"), false).next().await.expect("an item");
    assert!(matches!(pulled, Err(PullError::Client(ClientError::Timeout))));
}

#[rstest]
#[case("localhost:11434")]
#[case("ftp://localhost")]
#[case("unix:/run/ollama.sock")]
#[case("")]
fn a_base_url_is_http(#[case] url: &str) {
    assert!(matches!(Client::new(url, Timeouts::default()), Err(ClientError::BaseUrl)));
}

#[tokio::test]
async fn a_base_url_may_have_a_path() {
    let (client, served) = server("200 OK", vec![r#"{"version":"1"}"#.to_owned()]).await;
    let below = Client::new(&format!("{}ollama/", client.base_url()), Timeouts::default()).expect("a client");
    below.version().await.expect("a version");
    assert!(served.await.expect("served").starts_with("GET /ollama/api/version "));
}

async fn pull(body: &[&str]) -> (Vec<Result<PullEvent, String>>, String) {
    let (client, served) = server("200 OK", body.iter().map(|&piece| piece.to_owned()).collect()).await;
    let pull = client.pull(&name("Reg.example/Team/Model:V1"), true);
    let events = pull.map(|event| event.map_err(|error| error.to_string())).collect().await;
    (events, served.await.expect("served"))
}

fn status(text: &str) -> PullEvent {
    PullEvent::Status(text.to_owned())
}

#[tokio::test]
async fn a_pull_is_told_line_by_line_and_ends_at_success() {
    let (events, request) = pull(&[
        "{\"status\":\"pulling manifest\"}\n{\"status\":\"pulling ab\",\"digest\":\"sha256:ab\",\"to",
        "tal\":100}\n{\"status\":\"pulling ab\",\"digest\":\"sha256:ab\",\"total\":100,\"completed\":100}\n",
        "{\"status\":\"verifying sha256 digest\"}\n{\"status\":\"success\"}\n{\"status\":\"more\"}\n",
    ])
    .await;
    let layer = |completed| PullEvent::Layer { digest: "sha256:ab".to_owned(), completed, total: 100 };
    let expected =
        [status("pulling manifest"), layer(0), layer(100), status("verifying sha256 digest"), PullEvent::Success];
    assert_eq!(events, expected.map(Ok));
    // A registry's paths may have a case, so it is asked as the name was written.
    assert!(request.ends_with(r#"{"model":"Reg.example/Team/Model:V1","insecure":true,"stream":true}"#), "{request}");
}

#[rstest]
#[case::error_line(
    "{\"error\":\"pull model manifest: file does not exist\"}\n",
    "pull model manifest: file does not exist"
)]
#[case::error_line_without_end("{\"error\":\"disk full\"}", "disk full")]
#[case::cut("", "the pull ended before it was complete")]
#[case::cut_in_a_line("{\"status\":\"succ", "the pull ended before it was complete")]
#[case::status_that_only_sounds_so("{\"status\":\"success!\"}\n", "the pull ended before it was complete")]
#[tokio::test]
async fn nothing_but_success_is_success(#[case] last: &str, #[case] error: &str) {
    let (mut events, _) = pull(&["{\"status\":\"pulling manifest\"}\n", last]).await;
    assert_eq!(events.pop(), Some(Err(error.to_owned())));
    assert!(events.iter().all(|event| matches!(event, Ok(PullEvent::Status(_)))), "{events:?}");
}

#[tokio::test]
async fn a_pull_that_is_refused_at_once_says_why() {
    let (client, _) = server("400 Bad Request", vec![r#"{"error":"invalid model name"}"#.to_owned()]).await;
    let events: Vec<_> = client.pull(&name("m"), false).collect().await;
    assert_eq!(events.len(), 1);
    let error = events[0].as_ref().expect_err("an error");
    assert_eq!(error.to_string(), "Ollama answered 400 Bad Request: invalid model name");
}
