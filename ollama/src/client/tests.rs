use std::{net::SocketAddr, time::Duration};

use futures_util::StreamExt;
use http::StatusCode;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn backend(url: &str) -> Backend {
    Backend::new(url).expect("a backend")
}

fn client_at(address: SocketAddr) -> Client {
    let timeouts = Timeouts { connect: TEST_TIMEOUT, request: TEST_TIMEOUT, pull_idle: TEST_TIMEOUT };
    Client::new(backend(&format!("http://{address}")), timeouts).expect("a client")
}

/// Reads one request: its head, and the body of the length that the head states.
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
        assert!(count > 0, "the connection closed inside a request: {text}");
        read.extend_from_slice(&buffer[..count]);
    }
}

/// Starts a server that answers one request with the pieces of `body` and closes the connection.
/// Returns a client of it, and a handle that returns the request.
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
async fn tags_lists_the_models() {
    let body = r#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-01T00:00:00+02:00","size":98,"digest":"ab","details":{}},
        {"name":"far:latest","remote_host":"https://ollama.com:443","remote_model":"far","size":1,"digest":"cd"},
        {"name":"odd name","remote_host":"","size":1,"digest":"ef"},{"name":"m:cloud","size":1,"digest":"01"}]}"#;
    let (client, served) = server("200 OK", vec![body.to_owned()]).await;
    let tags = client.tags().await.expect("tags");
    let facts: Vec<_> =
        tags.iter().map(|tag| (tag.name.as_str(), tag.size, tag.is_remote(), tag.model_name().is_ok())).collect();
    assert_eq!(
        facts,
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
async fn delete_names_the_model_in_canonical_form() {
    let (client, served) = server("200 OK", vec![]).await;
    assert!(client.delete(&name("X")).await.expect("a response"));
    let request = served.await.expect("served");
    assert!(request.starts_with("DELETE /api/delete "), "{request}");
    assert!(request.ends_with(r#"{"model":"registry.ollama.ai/library/x:latest"}"#), "{request}");
}

#[tokio::test]
async fn delete_of_an_absent_model_is_not_an_error() {
    let (client, _) = server("404 Not Found", vec![r#"{"error":"model 'x' not found"}"#.to_owned()]).await;
    assert!(!client.delete(&name("x")).await.expect("a response"));
}

#[tokio::test]
async fn error_status_carries_ollamas_message() {
    let (client, _) = server("500 Internal Server Error", vec![r#"{"error":"disk full"}"#.to_owned()]).await;
    let error = client.tags().await.expect_err("an error");
    assert_eq!(error.to_string(), "Ollama answered 500 Internal Server Error: disk full");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (client, _) = server("302 Found", vec!["<html>".to_owned()]).await;
    let error = client.tags().await.expect_err("an error");
    assert!(matches!(error, ClientError::Status { status: StatusCode::FOUND, .. }), "{error:?}");
}

#[tokio::test]
async fn response_of_another_form_is_a_protocol_error() {
    let (client, _) = server("200 OK", vec!["<html>".to_owned()]).await;
    assert!(matches!(client.tags().await, Err(ClientError::Protocol(_))));
}

#[tokio::test]
async fn refused_connection_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    assert!(matches!(client_at(address).tags().await, Err(ClientError::Unreachable(_))));
}

/// Starts a server that never answers, and returns it with a client of short timeouts.
async fn silent_server() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let timeouts =
        Timeouts { request: Duration::from_millis(50), pull_idle: Duration::from_millis(50), ..Timeouts::default() };
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, Client::new(backend(&url), timeouts).expect("a client"))
}

#[tokio::test]
async fn request_without_response_times_out() {
    let (_listener, client) = silent_server().await;
    assert!(matches!(client.tags().await, Err(ClientError::Timeout)));
}

#[tokio::test]
async fn pull_without_response_times_out() {
    let (_listener, client) = silent_server().await;
    let first = client.pull(&name("m"), false).next().await.expect("an item");
    assert!(matches!(first, Err(PullError::Client(ClientError::Timeout))));
}

#[tokio::test]
async fn base_url_may_have_a_path() {
    let (client, served) = server("200 OK", vec![r#"{"models":[]}"#.to_owned()]).await;
    let client = Client::new(backend(&format!("{}/ollama/", client.name())), Timeouts::default()).expect("a client");
    client.tags().await.expect("tags");
    assert!(served.await.expect("served").starts_with("GET /ollama/api/tags "));
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
async fn pull_yields_an_event_per_line_and_ends_with_success() {
    let (events, _) = pull(&[
        "{\"status\":\"pulling manifest\"}\n{\"status\":\"pulling ab\",\"digest\":\"sha256:ab\",\"to",
        "tal\":100}\n{\"status\":\"pulling ab\",\"digest\":\"sha256:ab\",\"total\":100,\"completed\":100}\n",
        "{\"status\":\"verifying sha256 digest\"}\n{\"status\":\"success\"}\n{\"status\":\"more\"}\n",
    ])
    .await;
    let layer = |completed| PullEvent::Layer { digest: "sha256:ab".to_owned(), completed, total: 100 };
    let expected =
        [status("pulling manifest"), layer(0), layer(100), status("verifying sha256 digest"), PullEvent::Success];
    assert_eq!(events, expected.map(Ok));
}

#[tokio::test]
async fn pull_names_the_model_in_the_case_of_the_spelling() {
    let (_, request) = pull(&["{\"status\":\"success\"}\n"]).await;
    assert!(request.ends_with(r#"{"model":"Reg.example/Team/Model:V1","insecure":true,"stream":true}"#), "{request}");
}

#[rstest]
#[case::error_line(
    "{\"error\":\"pull model manifest: file does not exist\"}\n",
    "pull model manifest: file does not exist"
)]
#[case::error_line_without_end("{\"error\":\"disk full\"}", "disk full")]
#[case::truncated("", "the pull ended before it was complete")]
#[case::truncated_line("{\"status\":\"succ", "the pull ended before it was complete")]
#[case::similar_status("{\"status\":\"success!\"}\n", "the pull ended before it was complete")]
#[tokio::test]
async fn pull_without_success_ends_with_an_error(#[case] last: &str, #[case] error: &str) {
    let (mut events, _) = pull(&["{\"status\":\"pulling manifest\"}\n", last]).await;
    assert_eq!(events.pop(), Some(Err(error.to_owned())));
    assert!(events.iter().all(|event| matches!(event, Ok(PullEvent::Status(_)))), "{events:?}");
}

#[tokio::test]
async fn pull_with_an_error_status_yields_only_the_error() {
    let (client, _) = server("400 Bad Request", vec![r#"{"error":"invalid model name"}"#.to_owned()]).await;
    let events: Vec<_> = client.pull(&name("m"), false).collect().await;
    assert_eq!(events.len(), 1);
    let error = events[0].as_ref().expect_err("an error");
    assert_eq!(error.to_string(), "Ollama answered 400 Bad Request: invalid model name");
}
