//! A scripted stand-in for Ollama. It sends scripted answers at a scripted pace, and records the
//! requests and when their clients left.
//!
//! It can do on command what the real Ollama cannot: exact frame rates, streams that break, headers
//! that take minutes. Its frames have the shapes that Ollama 0.32 sends.

use std::{
    collections::HashMap,
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
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
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::recorded_answers::tags;
pub use crate::recorded_answers::{chat_events, chat_lines};

const BODY_LIMIT: usize = 64 << 20;
/// How long the answers under way may take when the server restarts.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// More headers.
    pub headers: Vec<(&'static str, &'static str)>,
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

    /// Server-sent events with names, as `/v1/messages` and `/v1/responses` stream them.
    #[must_use]
    pub fn named_events(events: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let frames = events.into_iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"));
        Self::stream("text/event-stream", frames)
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
            headers: Vec::new(),
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

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
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
        let found = timeout(limit, outcome.wait_for(Option::is_some)).await??;
        Ok((*found).expect("waited for"))
    }
}

#[derive(Default)]
struct Inner {
    scripts: HashMap<String, Script>,
    models: Vec<String>,
    requests: Vec<Arc<ReceivedRequest>>,
}

/// A running stand-in.
pub struct FakeOllama {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    connections: Arc<AtomicUsize>,
    server: Server,
}

/// The task that listens, and the token that makes it stop and close idle connections.
struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl FakeOllama {
    /// Starts a server that has `models`, on a free port of 127.0.0.1.
    pub async fn start(models: &[&str]) -> Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), models).await
    }

    /// Starts a server that has `models`, at this address; port 0 is any free one.
    pub async fn start_at(address: SocketAddr, models: &[&str]) -> Result<Self> {
        let inner =
            Arc::new(Mutex::new(Inner { models: models.iter().map(|&m| m.to_owned()).collect(), ..Inner::default() }));
        let connections = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let server = serve(listener, &inner, &connections);
        Ok(Self { address, inner, connections, server })
    }

    /// Stops. Idle connections are closed, and answers under way are completed.
    ///
    /// Errors: an answer takes longer than five seconds.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop.cancel();
        if !self.server.task.is_finished() {
            timeout(STOP_TIMEOUT, &mut self.server.task).await.context("an answer under way")??;
        }
        Ok(())
    }

    /// Stops and starts again on the same port. Idle connections are closed, and answers under way
    /// are completed.
    ///
    /// Errors: an answer takes longer than five seconds, or the port is taken meanwhile.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let listener = TcpListener::bind(self.address).await?;
        self.server = serve(listener, &self.inner, &self.connections);
        Ok(())
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The number of connections that were opened so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
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

    /// The requests that came through the gateway so far, oldest first. It gives each an id, and its
    /// own polls have none.
    #[must_use]
    pub fn client_requests(&self) -> Vec<Arc<ReceivedRequest>> {
        let inner = lock(&self.inner);
        inner.requests.iter().filter(|s| s.headers.contains_key("x-request-id")).cloned().collect()
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
        self.server.task.abort();
    }
}

fn serve(listener: TcpListener, inner: &Arc<Mutex<Inner>>, connections: &Arc<AtomicUsize>) -> Server {
    let router = Router::new().fallback(any(answer)).with_state(Arc::clone(inner));
    let opened = Arc::clone(connections);
    let listener = listener.tap_io(move |stream| {
        opened.fetch_add(1, Ordering::Relaxed);
        // Each frame is sent when it is due, not when the last one is acknowledged.
        let _ = stream.set_nodelay(true);
    });
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
    });
    Server { stop, task }
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
        "/api/tags" => tags(models.iter().map(String::as_str)),
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
    for (name, value) in script.headers {
        response.headers_mut().append(name, header::HeaderValue::from_static(value));
    }
    response
}
