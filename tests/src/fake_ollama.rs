//! A scripted stand-in for Ollama: answers what it is told, at the pace it is told, and remembers what it was asked and when the asker left.
//!
//! For what the real one cannot be made to do on command: exact frame rates, a stream that dies, headers that take minutes. Its frames have the shapes that Ollama 0.32 sends.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

const BODY_LIMIT: usize = 64 << 20;

/// How an answer ends after its last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer is complete.
    Clean,
    /// The connection breaks in the middle of the answer.
    Dies,
    /// Nothing more comes, and the connection stays.
    Hangs,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Script {
    /// The status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// How long until the headers are sent.
    pub headers_after: Duration,
    /// The body, each frame sent as an HTTP chunk of its own.
    pub frames: Vec<Bytes>,
    /// The time between two frames; zero sends them as fast as they are taken.
    pub every: Duration,
    /// How it ends.
    pub end: End,
}

impl Script {
    /// Newline-delimited JSON, as `/api/*` streams it; all at once until `every` says otherwise.
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

    /// The same with a pause between frames.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// The same with another end.
    #[must_use]
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// The same with headers that come late.
    #[must_use]
    pub fn headers_after(self, headers_after: Duration) -> Self {
        Self { headers_after, ..self }
    }
}

/// How an answer ended, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of it was sent.
    Sent,
    /// The other side closed its connection before that, at this moment.
    Abandoned(Instant),
}

/// A request that came in.
#[derive(Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    ended: watch::Sender<Option<Ended>>,
}

impl Seen {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Waits until the answer to it is over.
    pub async fn ended(&self, limit: Duration) -> Result<Ended> {
        let mut ended = self.ended.subscribe();
        let found = tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await??;
        Ok((*found).expect("waited for"))
    }
}

#[derive(Default)]
struct Stage {
    scripts: HashMap<String, Script>,
    models: Vec<String>,
    seen: Vec<Arc<Seen>>,
}

/// A running stand-in on a free port of 127.0.0.1.
pub struct FakeOllama {
    address: SocketAddr,
    stage: Arc<Mutex<Stage>>,
    server: AbortHandle,
}

impl FakeOllama {
    /// Starts one that has `models`.
    pub async fn start(models: &[&str]) -> Result<Self> {
        let stage =
            Arc::new(Mutex::new(Stage { models: models.iter().map(|&m| m.to_owned()).collect(), ..Stage::default() }));
        let router = Router::new().fallback(any(answer)).with_state(Arc::clone(&stage));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // Frames are sent when they are due, whatever the last one's fate.
            let _ = stream.set_nodelay(true);
        });
        let server = tokio::spawn(async { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, stage, server })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, has this model too.
    pub fn offer(&self, model: &str) {
        lock(&self.stage).models.push(model.to_owned());
    }

    /// From now on, answers requests for `path` so.
    pub fn answer(&self, path: &str, script: Script) {
        lock(&self.stage).scripts.insert(path.to_owned(), script);
    }

    /// The requests for `path` so far, oldest first.
    #[must_use]
    pub fn requests(&self, path: &str) -> Vec<Arc<Seen>> {
        let stage = lock(&self.stage);
        stage.seen.iter().filter(|s| s.path == path).cloned().collect()
    }

    /// All requests so far that ask for work, that is, not the polls for version, models and what is loaded.
    #[must_use]
    pub fn work(&self) -> Vec<Arc<Seen>> {
        let stage = lock(&self.stage);
        stage.seen.iter().filter(|s| s.method == Method::POST).cloned().collect()
    }
}

impl Drop for FakeOllama {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(stage): State<Arc<Mutex<Stage>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let seen = Arc::new(Seen {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: to_bytes(body, BODY_LIMIT).await.unwrap_or_default(),
        ended: watch::Sender::new(None),
    });
    let (script, models) = {
        let mut stage = lock(&stage);
        stage.seen.push(Arc::clone(&seen));
        (stage.scripts.get(parts.uri.path()).cloned(), stage.models.clone())
    };
    if let Some(script) = script {
        let leave = Leave { seen, complete: false };
        tokio::time::sleep(script.headers_after).await;
        return play(script, leave);
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

/// Notes, when it is dropped, whether the answer was sent to its end. The server drops an answer at once when the other side closes.
struct Leave {
    seen: Arc<Seen>,
    complete: bool,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let ended = if self.complete { Ended::Sent } else { Ended::Abandoned(Instant::now()) };
        self.seen.ended.send_replace(Some(ended));
    }
}

fn play(script: Script, leave: Leave) -> Response {
    let Script { frames, every, end, .. } = script;
    let clock = (!every.is_zero()).then(|| {
        let mut clock = interval(every);
        // A frame that is late because this process was must not make the next ones come in a burst.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock
    });
    let start = (frames.into_iter(), clock, leave);
    let body = futures_util::stream::unfold(Some(start), move |state| async move {
        let (mut frames, mut clock, mut leave) = state?;
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        if let Some(frame) = frames.next() {
            return Some((Ok(frame), Some((frames, clock, leave))));
        }
        match end {
            End::Clean => {
                leave.complete = true;
                None
            }
            End::Dies => {
                leave.complete = true;
                Some((Err("the script says so"), None))
            }
            End::Hangs => std::future::pending().await,
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = script.status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(script.content_type));
    response
}

/// The lines of a chat by `model`, as recorded: `count` numbered words, then the final object, which counts `count` tokens and 31 of the prompt.
pub fn chat_lines(model: &str, count: usize) -> impl Iterator<Item = String> {
    let start = format!(r#"{{"model":"{model}","created_at":"2026-11-24T05:05:53.637219664Z","message":"#);
    let end = format!(
        r#"{start}{{"role":"assistant","content":""}},"done":true,"done_reason":"stop","total_duration":5904840616,"load_duration":2165429294,"prompt_eval_count":31,"prompt_eval_duration":2670255000,"eval_count":{count},"eval_duration":1061840999}}"#
    );
    (0..count).map(move |n| format!(r#"{start}{{"role":"assistant","content":" w{n}"}},"done":false}}"#)).chain([end])
}

/// The events of an OpenAI chat by `model`, as recorded: `count` numbered words, then the end; with a usage event of 31 and `count` tokens if `usage`.
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
