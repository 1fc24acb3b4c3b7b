//! Answers in the forms of Ollama 0.32, with given numbers of tokens. Every prompt has 31 tokens.

use serde_json::{Value, json};

/// The answer of `GET /api/tags` with these models.
pub(crate) fn tags<'m>(models: impl IntoIterator<Item = &'m str>) -> Value {
    json!({"models": models.into_iter().map(listed).collect::<Vec<_>>()})
}

fn listed(model: &str) -> Value {
    json!({
        "name": model, "model": model, "modified_at": "2026-01-02T03:04:05.678901234Z", "size": 98_000_000, "digest": "0".repeat(64),
        "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "134.52M", "quantization_level": "Q4_1"},
    })
}

/// The lines of a chat by `model`: `count` numbered words, then the final object, which counts
/// `count` tokens.
pub fn chat_lines(model: &str, count: usize) -> impl Iterator<Item = String> {
    let start = format!(r#"{{"model":"{model}","created_at":"2026-11-24T05:05:53.637219664Z","message":"#);
    let end = format!(
        r#"{start}{{"role":"assistant","content":""}},"done":true,"done_reason":"stop","total_duration":5904840616,"load_duration":2165429294,"prompt_eval_count":31,"prompt_eval_duration":2670255000,"eval_count":{count},"eval_duration":1061840999}}"#
    );
    (0..count).map(move |n| format!(r#"{start}{{"role":"assistant","content":" w{n}"}},"done":false}}"#)).chain([end])
}

/// The events of an OpenAI chat by `model`: `count` numbered words, then the end. With `usage`, a
/// usage event of `count` tokens follows.
pub fn chat_events(model: &str, count: usize, usage: bool) -> impl Iterator<Item = String> {
    let start = format!(
        r#"{{"id":"chatcmpl-523","object":"chat.completion.chunk","created":1795496753,"model":"{model}","system_fingerprint":"fp_ollama","choices":"#
    );
    let end = format!(r#"{start}[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}"#);
    let usage = usage.then(|| format!(r#"{start}[],"usage":{}}}"#, openai_usage(count)));
    let word = move |n: usize| {
        let role = if n == 0 { r#""role":"assistant","# } else { "" };
        format!(r#"{start}[{{"index":0,"delta":{{{role}"content":" w{n}"}},"finish_reason":null}}]}}"#)
    };
    (0..count).map(word).chain([end]).chain(usage)
}

/// The events of an OpenAI text completion by `model`: `count` numbered words, then the end. With
/// `usage`, every event has an empty usage, and a usage event of `count` tokens follows.
pub fn completion_events(model: &str, count: usize, usage: bool) -> impl Iterator<Item = String> {
    let event = move |choices: String, usage: Option<String>| {
        let usage = usage.map_or_else(String::new, |usage| format!(r#","usage":{usage}"#));
        format!(
            r#"{{"id":"cmpl-523","object":"text_completion","created":1795496753,"choices":[{choices}],"model":"{model}","system_fingerprint":"fp_ollama"{usage}}}"#
        )
    };
    let empty = usage.then(|| r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#.to_owned());
    let mut events: Vec<String> = (0..count)
        .map(|n| event(format!(r#"{{"text":" w{n}","index":0,"finish_reason":null}}"#), empty.clone()))
        .collect();
    events.push(event(r#"{"text":"","index":0,"finish_reason":"stop"}"#.to_owned(), empty));
    if usage {
        events.push(event(String::new(), Some(openai_usage(count))));
    }
    events.into_iter()
}

/// A whole OpenAI text completion by `model` of `count` tokens.
#[must_use]
pub fn completion(model: &str, count: usize) -> Value {
    json!({
        "id": "cmpl-523", "object": "text_completion", "created": 1_795_496_753, "model": model, "system_fingerprint": "fp_ollama",
        "choices": [{"text": " w0", "index": 0, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 31, "completion_tokens": count, "total_tokens": 31 + count},
    })
}

/// The names and the data of the events of an Anthropic message by `model`: `count` numbered words,
/// then the end, which counts `count` tokens.
pub fn message_events(model: &str, count: usize) -> impl Iterator<Item = (&'static str, String)> {
    let start = format!(
        r#"{{"type":"message_start","message":{{"id":"msg_01","type":"message","role":"assistant","model":"{model}","content":[],"usage":{{"input_tokens":9,"output_tokens":0}}}}}}"#
    );
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let word = |n: usize| {
        let data =
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" w{n}"}}}}"#);
        ("content_block_delta", data)
    };
    let end = format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{{"input_tokens":31,"output_tokens":{count}}}}}"#
    );
    [("message_start", start), ("content_block_start", block.to_owned())].into_iter().chain((0..count).map(word)).chain(
        [
            ("content_block_stop", r#"{"type":"content_block_stop","index":0}"#.to_owned()),
            ("message_delta", end),
            ("message_stop", r#"{"type":"message_stop"}"#.to_owned()),
        ],
    )
}

/// A whole Anthropic message by `model` of `count` tokens.
#[must_use]
pub fn message(model: &str, count: usize) -> Value {
    json!({
        "id": "msg_01", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": " w0"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 31, "output_tokens": count},
    })
}

/// The names and the data of the events of an OpenAI response by `model`: `count` numbered words,
/// then the end, which counts `count` tokens.
pub fn response_events(model: &str, count: usize) -> impl Iterator<Item = (&'static str, String)> {
    let created = json!({"type": "response.created", "response": {"id": "resp_1", "object": "response", "status": "in_progress", "model": model, "error": null, "output": [], "usage": null}, "sequence_number": 0});
    let word = |n: usize| {
        let data = json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": format!(" w{n}"), "sequence_number": n + 1});
        ("response.output_text.delta", data.to_string())
    };
    let completed =
        json!({"type": "response.completed", "response": response(model, count), "sequence_number": count + 1});
    [("response.created", created.to_string())]
        .into_iter()
        .chain((0..count).map(word))
        .chain([("response.completed", completed.to_string())])
}

/// A whole OpenAI response by `model` of `count` tokens.
#[must_use]
pub fn response(model: &str, count: usize) -> Value {
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": model, "error": null,
        "output": [{"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": " w0", "annotations": [], "logprobs": []}]}],
        "usage": {
            "input_tokens": 31, "output_tokens": count, "total_tokens": 31 + count,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        },
    })
}

fn openai_usage(count: usize) -> String {
    let total = 31 + count;
    format!(r#"{{"prompt_tokens":31,"completion_tokens":{count},"total_tokens":{total}}}"#)
}
