//! The stand-in for Ollama in benchmarks: one thread, and as little work as hyper allows.
//!
//! A request without an order gets one small constant answer. A request with an
//! [`Order`] gets the stream that it asks for.

mod endless;
mod schedule;

use std::{convert::Infallible, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpListener;

use crate::frame::{Dialect, Order};
use schedule::Schedule;

const CHAT: &str = r#"{"model":"smollm2:135m","created_at":"2026-01-02T03:04:05.678901234Z","message":{"role":"assistant","content":"Hello! How can I help you today?"},"done":true,"done_reason":"stop","total_duration":812345678,"load_duration":12345678,"prompt_eval_count":31,"prompt_eval_duration":21000000,"eval_count":9,"eval_duration":70000000}"#;
const COMPLETION: &str = r#"{"id":"chatcmpl-523","object":"chat.completion","created":1795496753,"model":"smollm2:135m","system_fingerprint":"fp_ollama","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":31,"completion_tokens":9,"total_tokens":40}}"#;
const TAGS: &str = r#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-02T03:04:05.678901234Z","size":98000000,"digest":"0000000000000000000000000000000000000000000000000000000000000000","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"134.52M","quantization_level":"Q4_1"}}]}"#;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves on a free port of 127.0.0.1 until the process ends. Calls `ready` with the base URL
/// first.
pub(crate) fn serve(ready: impl FnOnce(&str)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let schedule = Schedule::start()?;
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener: TcpListener = socket.listen(4096)?;
        ready(&format!("http://{}", listener.local_addr()?));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let schedule = schedule.clone();
            let answer = service_fn(move |request| answer(request, schedule.clone()));
            // A broken connection is the client's problem.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}

async fn answer(request: Request<Incoming>, schedule: Schedule) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let dialect = if path == Dialect::OpenAi.path() { Dialect::OpenAi } else { Dialect::Native };
    let constant = match path {
        "/api/version" => r#"{"version":"0.32.15"}"#,
        "/api/tags" => TAGS,
        "/api/ps" => r#"{"models":[]}"#,
        _ if dialect == Dialect::OpenAi => COMPLETION,
        _ => CHAT,
    };
    // The connection serves the next request only after this body is read.
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let Some(order) = Order::find(&body) else {
        let whole = Full::new(Bytes::from_static(constant.as_bytes()));
        return Ok(respond("application/json; charset=utf-8", whole.boxed_unsync()));
    };
    if order.delay_us > 0 {
        tokio::time::sleep(Duration::from_micros(order.delay_us)).await;
    }
    let content_type = match dialect {
        Dialect::Native => "application/x-ndjson",
        Dialect::OpenAi => "text/event-stream",
    };
    if order.bytes > 0 {
        return Ok(respond(content_type, endless::stream(order).boxed_unsync()));
    }
    let has_usage = memmem::find(&body, b"include_usage").is_some();
    let frames = schedule.stream(order, dialect, has_usage).map_ok(Frame::data);
    Ok(respond(content_type, StreamBody::new(frames).boxed_unsync()))
}

fn respond(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
