//! The stand-in for Ollama in benchmarks: one thread and one small constant answer, with as little
//! work as hyper allows.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const CHAT: &str = r#"{"model":"smollm2:135m","created_at":"2026-01-02T03:04:05.678901234Z","message":{"role":"assistant","content":"Hello! How can I help you today?"},"done":true,"done_reason":"stop","total_duration":812345678,"load_duration":12345678,"prompt_eval_count":31,"prompt_eval_duration":21000000,"eval_count":9,"eval_duration":70000000}"#;
const TAGS: &str = r#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-02T03:04:05.678901234Z","size":98000000,"digest":"0000000000000000000000000000000000000000000000000000000000000000","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"134.52M","quantization_level":"Q4_1"}}]}"#;

/// Serves on a free port of 127.0.0.1 until the process ends. Calls `ready` with the base URL
/// first.
pub(crate) fn serve(ready: impl FnOnce(&str)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        ready(&format!("http://{}", listener.local_addr()?));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A broken connection is the client's problem.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/api/version" => r#"{"version":"0.32.15"}"#,
        "/api/tags" => TAGS,
        "/api/ps" => r#"{"models":[]}"#,
        _ => CHAT,
    };
    // The connection serves the next request only after this body is read.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json; charset=utf-8"));
    Ok(response)
}
