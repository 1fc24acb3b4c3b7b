//! Answers of the fake Ollama to every inference endpoint.

use http::StatusCode;
use paddock_tests::fake_ollama::{Script, chat_events, chat_lines};
use serde_json::json;

use super::{Api, MODEL};

/// Scripts an answer for each inference endpoint.
pub(super) fn script_ollama(api: &Api) {
    api.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
    api.fake.script("/api/pull", Script::ndjson([json!({"status": "success"})]));
    let end = json!({"model": MODEL, "created_at": "2026-11-24T05:05:53Z", "response": "", "done": true});
    api.fake.script("/api/generate", Script::ndjson([end]));
    let objects = [
        ("/api/embed", json!({"model": MODEL, "embeddings": [[0.1]], "prompt_eval_count": 1})),
        ("/api/embeddings", json!({"embedding": [0.1]})),
        ("/api/show", json!({"details": {"format": "gguf"}, "capabilities": ["completion"]})),
        ("/v1/completions", json!({"object": "text_completion", "choices": [], "usage": {"prompt_tokens": 1}})),
        ("/v1/embeddings", json!({"object": "list", "data": [], "usage": {"prompt_tokens": 1}})),
        ("/v1/responses", json!({"object": "response", "output": [], "usage": {"input_tokens": 1}})),
        ("/v1/responses/compact", json!({"object": "response.compaction", "output": [], "usage": {"input_tokens": 1}})),
        ("/v1/messages", json!({"type": "message", "content": [], "usage": {"input_tokens": 1}})),
        ("/v1/messages/count_tokens", json!({"input_tokens": 1})),
    ];
    for (path, body) in objects {
        api.fake.script(path, Script::json(StatusCode::OK, &body));
    }
    api.fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 1, true)));
}
