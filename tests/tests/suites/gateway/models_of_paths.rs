//! Requests about models: by their names in paths, and what of their descriptions each caller sees.

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_ollama::Dialect;
use paddock_tests::{
    fake_ollama::Script,
    paddock::{Caller, fetch_json},
    story::story,
};
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, OTHER_MODEL, error_body::refused};

/// A model whose name contains slashes.
const OF_ANOTHER_REGISTRY: &str = "hf.co/user/model:q4";

/// Names as clients write them in a path, and decoded.
const SPELLINGS: &[(&str, &str)] = &[
    ("smollm2:135m", "smollm2:135m"),
    ("smollm2%3A135m", "smollm2:135m"),
    ("SmolLM2:135M", "SmolLM2:135M"),
    ("library/smollm2:135m", "library/smollm2:135m"),
    ("library%2Fsmollm2:135m", "library/smollm2:135m"),
    ("library%2fsmollm2%3a135m", "library/smollm2:135m"),
    ("registry.ollama.ai/library/smollm2:135m", "registry.ollama.ai/library/smollm2:135m"),
    ("registry.ollama.ai%2Flibrary%2Fsmollm2:135m", "registry.ollama.ai/library/smollm2:135m"),
    ("%73mollm2:135m", "smollm2:135m"),
    ("hf.co/user/model:q4", "hf.co/user/model:q4"),
    ("hf.co%2Fuser%2Fmodel:q4", "hf.co/user/model:q4"),
    ("HF.co/User/Model:Q4", "HF.co/User/Model:Q4"),
];

/// A workload that may use the other model only.
async fn narrow_caller(gateway: &GatewayFixture) -> Result<Caller> {
    let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
    Ok(gateway.admin.create_key(user, json!({"models": [OTHER_MODEL]})).await?.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_found_by_any_spelling_in_a_path() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.add_model(OF_ANOTHER_REGISTRY);
        for (written, decoded) in SPELLINGS {
            let path = format!("/v1/models/{written}");
            let model = fetch_json(gateway.workload.get(&path)).await.with_context(|| path.clone())?;
            ensure!(model["id"] == *decoded && model["object"] == "model", "{path}: {model}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_model_has_the_status_of_its_get() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let client = reqwest::Client::new();
        for (model, status) in [(MODEL, 200), ("no-such:1b", 404)] {
            let url = format!("{}/v1/models/{model}", gateway.paddock.url());
            let answer = client.head(url).bearer_auth(gateway.workload.key()).send().await?;
            assert_eq!(answer.status(), status);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_a_path_that_is_not_allowed_looks_like_a_missing_one() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let narrow = narrow_caller(&gateway).await?;
        let missing = refused(narrow.get("/v1/models/no-such:1b"), 404).await?;
        assert_eq!(missing.dialect, Dialect::OpenAi);
        for (written, decoded) in &SPELLINGS[..9] {
            let error = refused(narrow.get(&format!("/v1/models/{written}")), 404).await?;
            assert_eq!(error.message.replace(decoded, "?"), missing.message.replace("no-such:1b", "?"));
            assert_eq!(error.code, missing.code);
        }
        fetch_json(narrow.get(&format!("/v1/models/{OTHER_MODEL}"))).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_a_path_that_is_no_name_is_refused() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (written, status) in [
            ("%FF", 400),
            ("a%20b", 400),
            ("a/b/c/d", 400),
            ("..%2F..%2Fetc%2Fpasswd", 400),
            ("smollm2@sha256:00", 400),
            ("gpt-oss:120b-cloud", 403),
        ] {
            let request = gateway.workload.get(&format!("/v1/models/{written}"));
            refused(request, status).await.with_context(|| written.to_owned())?;
        }
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_loaded_models_has_the_allowed_ones_only() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let loaded = |model: &str| json!({"name": model, "model": model, "size": 1, "size_vram": 0, "digest": "0".repeat(64), "expires_at": "2026-01-02T03:04:05Z"});
        let list = json!({"models": [loaded(MODEL), loaded(OTHER_MODEL), loaded("gpt-oss:120b-cloud")]});
        gateway.fake.script("/api/ps", Script::json(StatusCode::OK, &list));
        for (caller, expected) in
            [(narrow_caller(&gateway).await?, vec![OTHER_MODEL]), (gateway.workload.clone(), vec![MODEL, OTHER_MODEL])]
        {
            let shown = fetch_json(caller.get("/api/ps")).await?;
            let names: Vec<_> = shown["models"].as_array().context("a list")?.iter().map(|m| &m["name"]).collect();
            assert_eq!(names, expected);
        }
        Ok(())
    })
    .await;
}

/// What Ollama tells of a model.
const DESCRIPTION: &str = r#"{"license":"MIT","modelfile":"FROM x\nSYSTEM canary","parameters":"temperature 0.2","template":"{{ canary }}","system":"canary","details":{"family":"llama"},"messages":[{"role":"user","content":"canary"}],"model_info":{"general.architecture":"llama"},"capabilities":["completion"]}"#;
const PROMPTS: [&str; 4] = ["modelfile", "template", "system", "messages"];

/// A gateway whose Ollama describes its model.
async fn with_description() -> Result<GatewayFixture> {
    let gateway = GatewayFixture::start().await?;
    let mut script = Script::json(StatusCode::OK, &Value::Null);
    script.frames = vec![DESCRIPTION.into()];
    gateway.fake.script("/api/show", script);
    Ok(gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn users_do_not_see_the_prompts_of_a_model() {
    story(async {
        let gateway = with_description().await?;
        for body in [json!({"model": MODEL}), json!({"name": MODEL}), json!({"model": MODEL, "verbose": true})] {
            let request = gateway.workload.post("/api/show", &body);
            let text = request.send().await?.error_for_status()?.text().await?;
            let shown: Value = serde_json::from_str(&text)?;
            ensure!(PROMPTS.iter().all(|member| shown.get(member).is_none()), "{text}");
            ensure!(!text.contains("canary"), "{text}");
            let mut expected: Value = serde_json::from_str(DESCRIPTION)?;
            let members = expected.as_object_mut().context("an object")?;
            members.retain(|member, _| !PROMPTS.contains(&member.as_str()));
            assert_eq!(shown, expected);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_see_the_whole_description_of_a_model() {
    story(async {
        let gateway = with_description().await?;
        let request = gateway.admin.post("/api/show", &json!({"model": MODEL}));
        assert_eq!(request.send().await?.error_for_status()?.text().await?, DESCRIPTION);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_a_model_that_is_not_allowed_looks_like_a_missing_one() {
    story(async {
        let gateway = with_description().await?;
        let narrow = narrow_caller(&gateway).await?;
        let hidden = refused(narrow.post("/api/show", &json!({"model": MODEL})), 404).await?;
        let missing = refused(narrow.post("/api/show", &json!({"model": "no-such:1b"})), 404).await?;
        assert_eq!(hidden.message.replace(MODEL, "?"), missing.message.replace("no-such:1b", "?"));
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}

fn counted_message() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_ollama_cannot_count_are_a_404_of_anthropics_dialect() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let request = gateway.workload.post("/v1/messages/count_tokens", &counted_message());
        let error = refused(request, 404).await?;
        assert_eq!(error.dialect, Dialect::Anthropic);
        ensure!(gateway.database.usage_rows().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_ollama_counts_pass_unchanged() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let counted = json!({"input_tokens": 7});
        gateway.fake.script("/v1/messages/count_tokens", Script::json(StatusCode::OK, &counted));
        let request = gateway.workload.post("/v1/messages/count_tokens", &counted_message());
        assert_eq!(fetch_json(request).await?, counted);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_tokens_does_not_count_as_a_request() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let limits = json!({"limits": {"requests_per_minute": 2}});
        gateway.admin.patch(&format!("/users/{user}"), &limits).send().await?.error_for_status()?;
        let (_, caller) = gateway.admin.create_key(user, json!({})).await?;
        for _ in 0..5 {
            refused(caller.post("/v1/messages/count_tokens", &counted_message()), 404).await?;
        }
        for status in [200, 200, 429] {
            assert_eq!(caller.get("/api/tags").send().await?.status(), status);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_requests_counts_no_tokens() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, caller) = gateway.admin.create_key(user, json!({"limits": {"requests_per_minute": 0}})).await?;
        refused(caller.post("/v1/messages/count_tokens", &counted_message()), 429).await?;
        ensure!(gateway.fake.requests("/v1/messages/count_tokens").is_empty());
        Ok(())
    })
    .await;
}
