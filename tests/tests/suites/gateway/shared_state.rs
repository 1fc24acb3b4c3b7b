//! What all callers share: which models are loaded, and how. Users cannot change it, and are served
//! although their clients ask for it.

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_ollama::Dialect;
use paddock_tests::{
    fake_ollama::{Script, chat_events, chat_lines},
    paddock::{Caller, fetch_json},
    story::story,
};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, error_body::refused};

const IGNORED: &str = "x-paddock-ignored";

/// A request that users may send, what is left of it, and what the answer reports as ignored.
struct Removal {
    path: &'static str,
    sent: &'static str,
    forwarded: &'static str,
    ignored: &'static str,
}

const REMOVALS: &[Removal] = &[
    Removal {
        path: "/api/chat",
        sent: r#"{"model":"smollm2:135m","messages":[{"role":"user","content":"hi"}],"options":{"num_ctx":4096}}"#,
        forwarded: r#"{"model":"smollm2:135m","messages":[{"role":"user","content":"hi"}],"options":{}}"#,
        ignored: "options.num_ctx",
    },
    Removal {
        path: "/api/chat",
        sent: r#"{"keep_alive":-1, "model":"smollm2:135m","messages":[{"role":"user","content":"hi"}]}"#,
        forwarded: r#"{"model":"smollm2:135m","messages":[{"role":"user","content":"hi"}]}"#,
        ignored: "keep_alive",
    },
    // What LangChain sends, with the null members.
    Removal {
        path: "/api/chat",
        sent: r#"{"model":"smollm2:135m","messages":[{"role":"user","content":"hi"}],"keep_alive":"5m","options":{"mirostat":null,"num_ctx":4096,"num_gpu":1,"num_thread":8,"temperature":0.1,"f16_kv":true,"numa":false}}"#,
        forwarded: r#"{"model":"smollm2:135m","messages":[{"role":"user","content":"hi"}],"options":{"mirostat":null,"temperature":0.1}}"#,
        ignored: "keep_alive, options.num_ctx, options.num_gpu, options.num_thread, options.f16_kv, options.numa",
    },
    Removal {
        path: "/api/generate",
        sent: r#"{"options":{"seed":1,"a_new_option":{"nested":[1]}} , "prompt":"hi","model":"smollm2:135m"}"#,
        forwarded: r#"{"options":{"seed":1} , "prompt":"hi","model":"smollm2:135m"}"#,
        ignored: "options.a_new_option",
    },
    // Ollama executes the template: this one never ends.
    Removal {
        path: "/api/generate",
        sent: r#"{"model":"smollm2:135m","template":"{{range 9223372036854775807}}{{end}}","prompt":"hi","keep_alive":1}"#,
        forwarded: r#"{"model":"smollm2:135m","prompt":"hi"}"#,
        ignored: "template, keep_alive",
    },
    Removal {
        path: "/api/embed",
        sent: r#"{"model":"smollm2:135m","input":"hi","options":{"num_batch":1,"use_mmap":false,"main_gpu":0,"use_mlock":true,"draft_num_predict":2},"keep_alive":0}"#,
        forwarded: r#"{"model":"smollm2:135m","input":"hi","options":{}}"#,
        ignored: "keep_alive, options.num_batch, options.use_mmap, options.main_gpu, options.use_mlock, options.draft_num_predict",
    },
];

/// Requests that only load or unload a model.
const LOADS: &[(&str, &str)] = &[
    ("/api/generate", r#"{"model":"smollm2:135m","keep_alive":0}"#),
    ("/api/generate", r#"{"model":"smollm2:135m","keep_alive":"24h"}"#),
    ("/api/generate", r#"{"model":"smollm2:135m","prompt":"","keep_alive":-1,"stream":false}"#),
    ("/api/chat", r#"{"model":"smollm2:135m","messages":[],"keep_alive":"0s"}"#),
    ("/api/chat", r#"{"keep_alive":0,"model":"smollm2:135m"}"#),
    ("/api/embed", r#"{"model":"smollm2:135m","input":[],"keep_alive":0}"#),
    ("/api/embeddings", r#"{"model":"smollm2:135m","prompt":"","keep_alive":0}"#),
];

/// A POST of exactly these bytes.
fn post(caller: &Caller, path: &str, body: &'static str) -> RequestBuilder {
    caller.post(path, &Value::Null).body(body)
}

/// A gateway whose Ollama answers every endpoint.
async fn start() -> Result<GatewayFixture> {
    let gateway = GatewayFixture::start().await?;
    for path in ["/api/chat", "/api/generate"] {
        gateway.fake.script(path, Script::ndjson(chat_lines(MODEL, 1)));
    }
    for path in ["/api/embed", "/api/embeddings"] {
        let embedding = json!({"model": MODEL, "embeddings": [[0.5]], "prompt_eval_count": 4});
        gateway.fake.script(path, Script::json(StatusCode::OK, &embedding));
    }
    Ok(gateway)
}

/// The body of the newest request that the fake Ollama got.
fn forwarded(gateway: &GatewayFixture) -> Result<String> {
    let requests = gateway.fake.inference_requests();
    Ok(String::from_utf8(requests.last().context("a request")?.body.to_vec())?)
}

fn ignored(answer: &Response) -> Option<&str> {
    answer.headers().get(IGNORED).and_then(|value| value.to_str().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_users_that_all_share_are_removed_and_reported() {
    story(async {
        let gateway = start().await?;
        for removal in REMOVALS {
            let answer = post(&gateway.workload, removal.path, removal.sent).send().await?.error_for_status()?;
            assert_eq!(ignored(&answer), Some(removal.ignored));
            answer.bytes().await?;
            assert_eq!(forwarded(&gateway)?, removal.forwarded);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_admins_pass_unchanged() {
    story(async {
        let gateway = start().await?;
        for removal in REMOVALS {
            let answer = post(&gateway.admin, removal.path, removal.sent).send().await?.error_for_status()?;
            assert_eq!(ignored(&answer), None);
            answer.bytes().await?;
            assert_eq!(forwarded(&gateway)?, removal.sent);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_user_without_such_options_passes_unchanged() {
    story(async {
        let gateway = start().await?;
        let sent = r#"{"model":"smollm2:135m","prompt":"hi","template":"{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}","keep_alive":null,"options":{"num_ctx":null,"temperature":0,"stop":["a"]},"raw":true}"#;
        let answer = post(&gateway.workload, "/api/generate", sent).send().await?.error_for_status()?;
        assert_eq!(ignored(&answer), None);
        answer.bytes().await?;
        assert_eq!(forwarded(&gateway)?, sent);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_options_are_counted_by_a_closed_set_of_names() {
    story(async {
        let gateway = start().await?;
        let sent = r#"{"model":"smollm2:135m","prompt":"hi","keep_alive":1,"options":{"num_ctx":1,"of_a_client":1,"of_another":1}}"#;
        for _ in 0..2 {
            post(&gateway.workload, "/api/generate", sent).send().await?.error_for_status()?.bytes().await?;
        }
        for (field, count) in [("keep_alive", 2), ("num_ctx", 2), ("other", 4), ("of_a_client", 0)] {
            let series = format!("paddock_gateway_ignored_fields_total{{field=\"{field}\"}}");
            assert_eq!(gateway.counter(&series).await?, count, "{field}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_cannot_load_or_unload_a_model() {
    story(async {
        let gateway = start().await?;
        for (path, body) in LOADS {
            let request = post(&gateway.workload, path, body);
            let error = refused(request, 403).await.with_context(|| format!("{path} {body}"))?;
            assert_eq!(error.dialect, Dialect::Ollama);
        }
        ensure!(gateway.fake.client_requests().is_empty(), "{:?}", gateway.fake.client_requests());
        ensure!(gateway.database.usage_rows().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_load_is_logged_with_its_reason_and_audited() {
    story(async {
        let gateway = start().await?;
        let unload = post(&gateway.workload, "/api/generate", LOADS[0].1).header("X-Request-Id", "unload");
        refused(unload, 403).await?;
        let line = gateway.log_line("unload").await?;
        ensure!(line["reason"] == "load_not_allowed" && line["outcome"] == "refused", "{line}");
        let denied = fetch_json(gateway.admin.get("/audit?event_type=access_denied")).await?;
        let denied = denied.as_array().context("a list")?;
        ensure!(denied.len() == 1 && denied[0]["target"] == "POST /api/generate", "{denied:?}");
        assert_eq!(denied[0]["request_id"], "unload");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_and_unloads_of_admins_pass_unchanged() {
    story(async {
        let gateway = start().await?;
        let loaded = json!({"model": MODEL, "response": "", "done": true, "done_reason": "load"});
        for path in ["/api/chat", "/api/generate"] {
            gateway.fake.script(path, Script::ndjson([&loaded]));
        }
        for (path, body) in LOADS {
            let answer = post(&gateway.admin, path, body).send().await?;
            ensure!(answer.status() == 200, "{path} {body}: {}", answer.status());
            answer.bytes().await?;
            assert_eq!(forwarded(&gateway)?, *body);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_conversation_without_keep_alive_is_not_a_load() {
    story(async {
        let gateway = start().await?;
        gateway.fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 1, true)));
        let native = r#"{"model":"smollm2:135m","messages":[]}"#;
        post(&gateway.workload, "/api/chat", native).send().await?.error_for_status()?.bytes().await?;
        assert_eq!(forwarded(&gateway)?, native);
        let openai = r#"{"model":"smollm2:135m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
        post(&gateway.workload, "/v1/chat/completions", openai).send().await?.error_for_status()?.bytes().await?;
        assert_eq!(forwarded(&gateway)?, openai);
        Ok(())
    })
    .await;
}
