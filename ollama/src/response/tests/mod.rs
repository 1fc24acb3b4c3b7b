//! The meter on whole responses, on streams in each format, and on streams in any chunks.

mod chunking;
mod events;
mod lines;
mod usage_filter;

use bytes::Bytes;
use http::{Method, StatusCode};
use rstest::rstest;

use super::*;
use crate::endpoints::{Endpoint, Lookup, lookup};

fn endpoint(path: &str) -> &'static Endpoint {
    match lookup(&Method::POST, path) {
        Lookup::Served(endpoint) => endpoint,
        other => panic!("{path}: {other:?}"),
    }
}

fn stream_meter(path: &str) -> Meter {
    Meter::new(endpoint(path), true, false)
}

fn object_meter(path: &str) -> Meter {
    Meter::new(endpoint(path), false, false)
}

/// Feeds the chunks. Returns the output and the summary.
fn run<'a>(mut meter: Meter, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, ResponseSummary) {
    let mut out = Vec::new();
    for chunk in chunks {
        for output in meter.feed(Bytes::copy_from_slice(chunk)) {
            out.extend_from_slice(&output);
        }
    }
    (out, meter.finish())
}

/// Feeds a response in one chunk, checks that it passes unchanged, and returns the summary.
fn summarize(meter: Meter, response: &str) -> ResponseSummary {
    let (out, summary) = run(meter, [response.as_bytes()]);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), response, "the response passes unchanged");
    summary
}

fn error_event(summary: &ResponseSummary) -> Option<Bytes> {
    summary.error_event(StatusCode::BAD_GATEWAY, "cut", None)
}

fn tokens(summary: &ResponseSummary) -> (u64, u64) {
    (summary.usage.prompt_tokens, summary.usage.completion_tokens)
}

const CHAT: &str = concat!(
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.1Z","message":{"role":"assistant","content":"He \"said\": \\"},"done":false}"#,
    "\n",
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.2Z","message":{"role":"assistant","content":"{\"done\":true}\n"},"done":false}"#,
    "\n",
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.3Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"done":true,"eval_count":9,"error":"x"}}}]},"done":false}"#,
    "\n",
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.4Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":4000000123,"load_duration":1000,"prompt_eval_count":26,"prompt_eval_duration":2000,"eval_count":298,"eval_duration":3000}"#,
    "\n",
);

const USAGE_CHUNK: &str = concat!(
    r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":31,"completion_tokens":7,"total_tokens":38}}"#,
    "\n\n",
);

fn openai(usage: &str) -> String {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"system_fingerprint\":\"fp_ollama\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    [
        &chunk(r#"{"role":"assistant","content":"\"choices\":[],\"usage\":{"}"#, "null"),
        &chunk(r#"{"content":"data: [DONE]\n\n"}"#, "null"),
        &chunk("{}", r#""stop""#),
        usage,
        "data: [DONE]\n\n",
    ]
    .concat()
}

/// The first `count` lines of [`CHAT`].
fn chat_lines(count: usize) -> String {
    CHAT.split_inclusive('\n').take(count).collect()
}

fn filtering_meter() -> Meter {
    Meter::new(endpoint("/v1/chat/completions"), true, true)
}

#[rstest]
#[case("/api/chat", r#"{"message":{"content":"a","done":false},"done":true,"prompt_eval_count":3,"eval_count":4}"#, true, (3, 4))]
#[case("/api/chat", r#"{"message":{"content":"a"},"done":false,"eval_count":4}"#, false, (0, 14))]
#[case("/api/embed", r#"{"model":"m","embeddings":[[0.1,-2e-3],[1]],"total_duration":5,"prompt_eval_count":8}"#, true, (8, 0))]
#[case("/api/embed", r#"{"model":"m","embeddings":[[0.1,"#, false, (0, 0))]
#[case("/v1/chat/completions", "{ \"choices\" : [ {\"message\":{}} ],\n \"usage\" : { \"prompt_tokens\" : 5 , \"completion_tokens\" :6, \"total_tokens\":11 } }\n", true, (5, 6))]
fn object_response_is_complete_when_its_object_is(
    #[case] path: &str,
    #[case] response: &str,
    #[case] complete: bool,
    #[case] expected: (u64, u64),
) {
    let summary = summarize(object_meter(path), response);
    assert_eq!((summary.is_complete, tokens(&summary)), (complete, expected));
    assert_eq!(summary.usage.is_estimated, !complete);
}

#[rstest]
#[case::complete(r#"{"message":{"content":"a"},"done":true}"#)]
#[case::truncated(r#"{"message":{"content":"a"#)]
fn object_response_gets_no_error_event(#[case] response: &str) {
    assert_eq!(error_event(&summarize(object_meter("/api/chat"), response)), None);
}

#[rstest]
#[case("/api/chat", r#"{"error":"model 'x' not found"}"#, "model 'x' not found")]
#[case(
    "/v1/chat/completions",
    r#"{"error":{"message":"too long","type":"invalid_request_error","param":null,"code":null}}"#,
    "too long"
)]
fn error_response_has_no_usage(#[case] path: &str, #[case] response: &str, #[case] error: &str) {
    let summary = summarize(object_meter(path), response);
    assert!(!summary.is_complete);
    assert_eq!(summary.error.as_deref(), Some(error));
    assert_eq!(summary.usage, Usage::default());
}

#[rstest]
#[case(
    "/api/chat",
    r#"{"done":true,"prompt_eval_count":30,"prompt_eval_cached_count":20,"eval_count":1}"#,
    30,
    Some(20)
)]
#[case("/v1/chat/completions", r#"{"choices":[{}],"usage":{"prompt_tokens":30,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens":1}}"#, 30, Some(0))]
#[case(
    "/v1/messages",
    r#"{"type":"message","usage":{"input_tokens":10,"cache_read_input_tokens":20,"output_tokens":1}}"#,
    30,
    Some(20)
)]
#[case("/v1/responses", r#"{"object":"response","usage":{"input_tokens":30,"output_tokens":1}}"#, 30, None)]
fn cached_prompt_tokens_are_a_part_of_the_prompt(
    #[case] path: &str,
    #[case] response: &str,
    #[case] prompt_tokens: u64,
    #[case] cached_prompt_tokens: Option<u64>,
) {
    let usage = summarize(object_meter(path), response).usage;
    assert_eq!((usage.prompt_tokens, usage.cached_prompt_tokens), (prompt_tokens, cached_prompt_tokens));
}

/// Returns whether the meter reads a field of the usage, or a count in an object of that name.
fn is_metered(field: &str) -> bool {
    let value = if field.ends_with("_details") { r#"{"cached_tokens":7}"# } else { "7" };
    let response = format!(r#"{{"choices":[{{}}],"usage":{{"{field}":{value}}}}}"#);
    let usage = summarize(object_meter("/v1/chat/completions"), &response).usage;
    !usage.is_estimated
}

#[test]
fn meter_reads_exactly_the_metered_fields() {
    for field in METERED_FIELDS {
        assert!(is_metered(field), "{field}");
    }
    for field in UNMETERED_FIELDS {
        assert!(!is_metered(field), "{field}");
    }
}

/// Ollama sends such an object if its model repeats one token.
#[rstest]
#[case("/v1/chat/completions", r#"{"choices":[{"message":{"content":"dddddddd"},"finish_reason":null}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#)]
#[case(
    "/v1/responses",
    r#"{"object":"response","output":[{"text":"dddddddd"}],"usage":{"input_tokens":0,"output_tokens":0}}"#
)]
#[case("/v1/messages", r#"{"type":"message","content":[{"text":"dddddddd"}]}"#)]
fn completion_without_counts_has_an_estimated_usage(#[case] path: &str, #[case] response: &str) {
    let summary = summarize(object_meter(path), response);
    assert!(summary.is_complete && summary.usage.is_estimated);
    assert_eq!(tokens(&summary), (0, response.len().div_ceil(4) as u64));
}

#[test]
fn embedding_without_counts_has_an_estimated_usage() {
    let summary = summarize(object_meter("/api/embeddings"), r#"{"embedding":[0.1,2]}"#);
    assert!(summary.is_complete && summary.usage.is_estimated);
}
