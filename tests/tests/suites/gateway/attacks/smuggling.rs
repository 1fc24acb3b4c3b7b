//! Raw payloads that hide a request in another one: the gateway forwards the outer request once, or
//! nothing, and never the hidden one.

use anyhow::{Result, ensure};
use http::StatusCode;
use paddock_tests::{fake_ollama::Script, story::story};
use serde_json::{Value, json};

use super::{
    bodies::fill,
    payloads::{OTHERS, REFUSED, SERVED, SERVED_BEFORE_ANOTHER, UNFINISHED},
    raw_connection::send_raw,
};
use crate::gateway::{GatewayFixture, MODEL};

/// The path of the hidden requests. No payload may reach Ollama there.
const HIDDEN: &str = "/api/generate";

/// A payload, and what must come of it.
struct Case {
    what: &'static str,
    payload: Vec<u8>,
    statuses: Vec<u16>,
    /// How many chats reach Ollama.
    forwarded: usize,
    /// The client stops sending at once, because the server waits for more.
    is_unfinished: bool,
}

impl Case {
    fn new(what: &'static str, payload: &[u8], statuses: &[u16], forwarded: usize) -> Self {
        Self { what, payload: payload.to_vec(), statuses: statuses.to_vec(), forwarded, is_unfinished: false }
    }
}

/// Payloads that are too large to be written down.
fn large() -> [Case; 2] {
    let extension = format!("<chunked><hex>;{}\r\n<body>\r\n0\r\n\r\n<request>", "a".repeat(20_000));
    let trailers = format!("<chunked><hex>\r\n<body>\r\n0\r\nX: {}\r\n\r\n<request>", "a".repeat(200_000));
    [
        Case::new("a chunk extension of 20,000 bytes", extension.as_bytes(), &[400], 0),
        Case::new("trailers of 200,000 bytes", trailers.as_bytes(), &[400], 0),
    ]
}

fn cases() -> Vec<Case> {
    let refused = REFUSED.iter().map(|&(what, payload)| Case::new(what, payload, &[400], 0));
    let unfinished =
        UNFINISHED.iter().map(|&(what, payload)| Case { is_unfinished: true, ..Case::new(what, payload, &[400], 0) });
    let served = SERVED.iter().map(|&(what, payload)| Case::new(what, payload, &[200], 1));
    let before_another = SERVED_BEFORE_ANOTHER.iter().map(|&(what, payload)| Case::new(what, payload, &[200, 401], 1));
    let others =
        OTHERS.iter().map(|&(what, payload, statuses, forwarded)| Case::new(what, payload, statuses, forwarded));
    refused.chain(unfinished).chain(served).chain(before_another).chain(others).chain(large()).collect()
}

/// The bodies that may reach Ollama: a chat, and a chat about a request.
fn bodies() -> [String; 2] {
    let chat = |content: &str| {
        let messages = json!([{"role": "user", "content": content}]);
        json!({"model": MODEL, "stream": false, "messages": messages}).to_string()
    };
    [chat("Say hello."), chat("\r\n\r\nPOST /api/generate HTTP/1.1\r\nHost: paddock\r\n\r\n")]
}

/// Replaces the names of parts in a payload.
fn complete(payload: &[u8], key: &str) -> Vec<u8> {
    let post = |version: &str, end: &str, credential: &str| {
        format!("POST /api/chat HTTP/{version}{end}Host: paddock{end}{credential}")
    };
    let with_key = format!("Authorization: Bearer {key}\r\n");
    let [body, about_a_request] = bodies();
    let hidden = json!({"model": MODEL, "stream": false, "prompt": "hidden"}).to_string();
    let length = hidden.len();
    let request = format!("POST {HIDDEN} HTTP/1.1\r\nHost: paddock\r\nContent-Length: {length}\r\n\r\n{hidden}");
    let chunked = format!("{}Transfer-Encoding: chunked\r\n\r\n", post("1.1", "\r\n", &with_key));
    fill(
        payload,
        &[
            ("<chunked>", &chunked),
            ("<post>", &post("1.1", "\r\n", &with_key)),
            ("<post without key>", &post("1.1", "\r\n", "")),
            ("<post of 1.0>", &post("1.0", "\r\n", &with_key)),
            ("<post with LF>", &post("1.1", "\n", &format!("Authorization: Bearer {key}\n"))),
            ("<body>", &body),
            ("<length>", &body.len().to_string()),
            ("<hex>", &format!("{:x}", body.len())),
            ("<HEX>", &format!("{:X}", body.len())),
            ("<body with a request>", &about_a_request),
            ("<length with a request>", &about_a_request.len().to_string()),
            ("<request>", &request),
            ("<request length>", &request.len().to_string()),
            ("<request hex>", &format!("{:x}", request.len())),
            ("<key>", key),
        ],
    )
}

/// Sends a payload, and checks the answers and what Ollama got.
async fn check(gateway: &GatewayFixture, case: &Case) -> Result<()> {
    let before = gateway.fake.inference_requests().len();
    let payload = complete(&case.payload, gateway.workload.key());
    let count = if case.is_unfinished { 0 } else { case.statuses.len() };
    let answers = send_raw(gateway.paddock.url(), &payload, count).await?;
    let statuses = answers.statuses();
    let is_expected = statuses == case.statuses || (answers.is_reset && case.statuses.starts_with(&statuses));
    ensure!(is_expected, "answered {statuses:?} instead of {:?}: {:?}", case.statuses, answers.text());
    let forwarded = &gateway.fake.inference_requests()[before..];
    ensure!(forwarded.len() == case.forwarded, "Ollama got {forwarded:?}");
    for request in forwarded {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        ensure!(request.path == "/api/chat" && bodies().contains(&body), "Ollama got {request:?}");
        let framing = ["transfer-encoding", "trailer", "te", "upgrade", "expect", "authorization"];
        for header in framing {
            ensure!(!request.headers.contains_key(header), "{header} was forwarded: {request:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_request_never_reaches_ollama() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let done = json!({
            "model": MODEL,
            "message": {"role": "assistant", "content": "Hello."},
            "done": true,
            "prompt_eval_count": 3,
            "eval_count": 2,
        });
        gateway.fake.script("/api/chat", Script::json(StatusCode::OK, &done));
        gateway.fake.script(HIDDEN, Script::json(StatusCode::OK, &done));
        let cases = cases();
        let mut wrong = Vec::new();
        for case in &cases {
            if let Err(error) = check(&gateway, case).await {
                wrong.push(format!("{}: {error:#}", case.what));
            }
            ensure!(gateway.paddock.process().exit_status().is_none(), "{} ended the server", case.what);
        }
        ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));

        // One more chat, after which everything that the payloads have started has ended.
        let chat: Value = serde_json::from_str(&bodies()[0])?;
        gateway.workload.post("/api/chat", &chat).send().await?.error_for_status()?.bytes().await?;
        let all = gateway.fake.inference_requests();
        let wanted = cases.iter().map(|case| case.forwarded).sum::<usize>() + 1;
        ensure!(all.len() == wanted, "Ollama got {} requests instead of {wanted}", all.len());
        ensure!(all.iter().all(|request| request.path == "/api/chat"), "{all:?}");
        let log = gateway.paddock.process().log().text();
        ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    })
    .await;
}
