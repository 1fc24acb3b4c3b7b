//! A scripted stand-in for Ollama. It sends scripted answers at a scripted pace, and records the
//! requests and when their clients left.
//!
//! It can do on command what the real Ollama cannot: exact frame rates, streams that break, headers
//! that take minutes. Its frames have the shapes that Ollama 0.32 sends.

use std::{
    collections::HashMap,
    fmt::Display,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
    routing::any,
    serve::ListenerExt as _,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

const BODY_LIMIT: usize = 64 << 20;

/// How an answer ends after its last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer is complete.
    Clean,
    /// The connection breaks in the middle of the answer.
    Abort,
    /// Nothing more is sent, and the connection stays open.
    Hang,
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub struct Script {
    /// The status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// The delay before the headers.
    pub headers_after: Duration,
    /// The body; each frame is one HTTP chunk.
    pub frames: Vec<Bytes>,
    /// The time between two frames; zero sends them as fast as the client reads.
    pub every: Duration,
    /// How the answer ends.
    pub end: End,
}

impl Script {
    /// Newline-delimited JSON, as `/api/*` streams it, without pauses.
    #[must_use]
    pub fn ndjson(lines: impl IntoIterator<Item: Display>) -> Self {
        Self::stream("application/x-ndjson", lines.into_iter().map(|line| format!("{line}\n")))
    }

    /// Server-sent events, as `/v1/*` streams them, with `[DONE]` at the end.
    #[must_use]
    pub fn events(events: impl IntoIterator<Item: Display>) -> Self {
        Self::stream(
            "text/event-stream",
            events.into_iter().map(|event| format!("data: {event}\n\n")).chain(["data: [DONE]\n\n".to_owned()]),
        )
    }

    /// One JSON document.
    #[must_use]
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, ..Self::stream("application/json; charset=utf-8", [body.to_string()]) }
    }

    fn stream(content_type: &'static str, frames: impl IntoIterator<Item = String>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            headers_after: Duration::ZERO,
            frames: frames.into_iter().map(Bytes::from).collect(),
            every: Duration::ZERO,
            end: End::Clean,
        }
    }

    /// Sets the pause between frames.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Sets the end.
    #[must_use]
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Sets the delay before the headers.
    #[must_use]
    pub fn headers_after(self, headers_after: Duration) -> Self {
        Self { headers_after, ..self }
    }
}

/// How an answer ended, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was sent.
    Sent,
    /// The client closed its connection earlier, at this moment.
    Abandoned(Instant),
}

/// A received request.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    outcome: watch::Sender<Option<Outcome>>,
}

impl ReceivedRequest {
    /// The body as JSON; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Waits until its answer has ended, for at most `limit`.
    pub async fn outcome(&self, limit: Duration) -> Result<Outcome> {
        let mut outcome = self.outcome.subscribe();
        let found = tokio::time::timeout(limit, outcome.wait_for(Option::is_some)).await??;
        Ok((*found).expect("waited for"))
    }
}

#[derive(Default)]
struct Inner {
    scripts: HashMap<String, Script>,
    models: Vec<String>,
    requests: Vec<Arc<ReceivedRequest>>,
}

/// A running stand-in on a free port of 127.0.0.1.
pub struct FakeOllama {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    server: AbortHandle,
}

impl FakeOllama {
    /// Starts a server that has `models`.
    pub async fn start(models: &[&str]) -> Result<Self> {
        let inner =
            Arc::new(Mutex::new(Inner { models: models.iter().map(|&m| m.to_owned()).collect(), ..Inner::default() }));
        let router = Router::new().fallback(any(answer)).with_state(Arc::clone(&inner));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // Each frame is sent when it is due, not when the last one is acknowledged.
            let _ = stream.set_nodelay(true);
        });
        let server = tokio::spawn(async { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, inner, server })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a model.
    pub fn add_model(&self, model: &str) {
        lock(&self.inner).models.push(model.to_owned());
    }

    /// Answers requests for `path` with `script` from now on.
    pub fn script(&self, path: &str, script: Script) {
        lock(&self.inner).scripts.insert(path.to_owned(), script);
    }

    /// The requests for `path` so far, oldest first.
    #[must_use]
    pub fn requests(&self, path: &str) -> Vec<Arc<ReceivedRequest>> {
        let inner = lock(&self.inner);
        inner.requests.iter().filter(|s| s.path == path).cloned().collect()
    }

    /// All requests so far, oldest first, with the polls for version and models.
    #[must_use]
    pub fn all_requests(&self) -> Vec<Arc<ReceivedRequest>> {
        lock(&self.inner).requests.clone()
    }

    /// The requests for inference so far, oldest first, without the polls for version and models.
    #[must_use]
    pub fn inference_requests(&self) -> Vec<Arc<ReceivedRequest>> {
        let inner = lock(&self.inner);
        inner.requests.iter().filter(|s| s.method == Method::POST).cloned().collect()
    }
}

impl Drop for FakeOllama {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let seen = Arc::new(ReceivedRequest {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: to_bytes(body, BODY_LIMIT).await.unwrap_or_default(),
        outcome: watch::Sender::new(None),
    });
    let (script, models) = {
        let mut inner = lock(&inner);
        inner.requests.push(Arc::clone(&seen));
        (inner.scripts.get(parts.uri.path()).cloned(), inner.models.clone())
    };
    if let Some(script) = script {
        let recorder = OutcomeRecorder { seen, complete: false };
        tokio::time::sleep(script.headers_after).await;
        return respond(script, recorder);
    }
    let answer = match parts.uri.path() {
        "/" => return axum::response::IntoResponse::into_response("Ollama is running"),
        "/api/version" => json!({"version": "0.32.15"}),
        "/api/tags" => json!({"models": models.iter().map(|m| listed(m)).collect::<Vec<_>>()}),
        "/v1/models" => {
            let entry =
                |m: &String| json!({"id": m, "object": "model", "created": 1_795_496_747, "owned_by": "library"});
            json!({"object": "list", "data": models.iter().map(entry).collect::<Vec<_>>()})
        }
        "/api/ps" => json!({"models": []}),
        _ => {
            let mut response = Response::new(Body::from("404 page not found"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    axum::response::IntoResponse::into_response(Json(answer))
}

fn listed(model: &str) -> Value {
    json!({
        "name": model, "model": model, "modified_at": "2026-01-02T03:04:05.678901234Z", "size": 98_000_000, "digest": "0".repeat(64),
        "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "134.52M", "quantization_level": "Q4_1"},
    })
}

/// Records the outcome of an answer when it is dropped. The server drops an answer as soon as the
/// client closes its connection.
struct OutcomeRecorder {
    seen: Arc<ReceivedRequest>,
    complete: bool,
}

impl Drop for OutcomeRecorder {
    fn drop(&mut self) {
        let outcome = if self.complete { Outcome::Sent } else { Outcome::Abandoned(Instant::now()) };
        self.seen.outcome.send_replace(Some(outcome));
    }
}

fn respond(script: Script, recorder: OutcomeRecorder) -> Response {
    let Script { frames, every, end, .. } = script;
    let clock = (!every.is_zero()).then(|| {
        let mut clock = interval(every);
        // A late frame must not make the next ones come in a burst.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock
    });
    let start = (frames.into_iter(), clock, recorder);
    let body = futures_util::stream::unfold(Some(start), move |state| async move {
        let (mut frames, mut clock, mut recorder) = state?;
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        if let Some(frame) = frames.next() {
            return Some((Ok(frame), Some((frames, clock, recorder))));
        }
        match end {
            End::Clean => {
                recorder.complete = true;
                None
            }
            End::Abort => {
                recorder.complete = true;
                Some((Err("the script aborts here"), None))
            }
            End::Hang => std::future::pending().await,
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = script.status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(script.content_type));
    response
}

/// The lines of a chat by `model`, as recorded: `count` numbered words, then the final object,
/// which counts `count` tokens and 31 prompt tokens.
pub fn chat_lines(model: &str, count: usize) -> impl Iterator<Item = String> {
    let start = format!(r#"{{"model":"{model}","created_at":"2026-11-24T05:05:53.637219664Z","message":"#);
    let end = format!(
        r#"{start}{{"role":"assistant","content":""}},"done":true,"done_reason":"stop","total_duration":5904840616,"load_duration":2165429294,"prompt_eval_count":31,"prompt_eval_duration":2670255000,"eval_count":{count},"eval_duration":1061840999}}"#
    );
    (0..count).map(move |n| format!(r#"{start}{{"role":"assistant","content":" w{n}"}},"done":false}}"#)).chain([end])
}

/// The events of an OpenAI chat by `model`, as recorded: `count` numbered words, then the end. With
/// `usage`, a usage event of 31 and `count` tokens follows.
pub fn chat_events(model: &str, count: usize, usage: bool) -> impl Iterator<Item = String> {
    let start = format!(
        r#"{{"id":"chatcmpl-523","object":"chat.completion.chunk","created":1795496753,"model":"{model}","system_fingerprint":"fp_ollama","choices":"#
    );
    let end = format!(r#"{start}[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}"#);
    let total = 31 + count;
    let usage = usage.then(|| {
        format!(r#"{start}[],"usage":{{"prompt_tokens":31,"completion_tokens":{count},"total_tokens":{total}}}}}"#)
    });
    let word = move |n: usize| {
        let role = if n == 0 { r#""role":"assistant","# } else { "" };
        format!(r#"{start}[{{"index":0,"delta":{{{role}"content":" w{n}"}},"finish_reason":null}}]}}"#)
    };
    (0..count).map(word).chain([end]).chain(usage)
}
