//! The policy of the gateway: refusals are in the client's dialect, and refused requests do not
//! reach Ollama.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    fake_ollama::{Script, chat_lines},
    paddock::Caller,
    story::story,
};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, OTHER_MODEL, chat, streamed_chat_completion};

/// Sends a request and asserts that it is refused with `status`, in the dialect of its path.
/// Returns the body.
async fn assert_refused(what: &str, request: RequestBuilder, status: u16) -> Result<String> {
    let answer = request.send().await.with_context(|| what.to_owned())?;
    let path = answer.url().path().to_owned();
    let (got, body) = (answer.status().as_u16(), answer.text().await?);
    ensure!(got == status, "{what}: {got}, not {status}: {body}");
    let json: Value = serde_json::from_str(&body).with_context(|| format!("{what}: {body}"))?;
    if path.starts_with("/v1/") {
        ensure!(json["error"]["message"].is_string() && json["error"]["type"].is_string(), "{what}: {body}");
    } else {
        ensure!(json["error"].is_string(), "{what}: {body}");
    }
    Ok(body)
}

/// The POST paths that take a model, each with a valid body.
fn inference_requests() -> [(&'static str, Value); 4] {
    [
        ("/api/chat", chat()),
        ("/api/generate", json!({"model": MODEL, "prompt": "Say hello."})),
        ("/api/embed", json!({"model": MODEL, "input": "hello"})),
        ("/v1/chat/completions", streamed_chat_completion()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_live_key_is_refused() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let GatewayFixture { admin, paddock, .. } = &gateway;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (revoked, revoked_key) = admin.create_key(user, json!({})).await?;
        admin.post(&format!("/credentials/{revoked}/revoke"), &json!({})).send().await?.error_for_status()?;
        let disabled = admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, disabled_key) = admin.create_key(disabled, json!({})).await?;
        let off = json!({"is_active": false});
        admin.patch(&format!("/users/{disabled}"), &off).send().await?.error_for_status()?;

        let live = gateway.workload.key();
        // One character of the secret is changed, so that its checksum is wrong.
        let mistyped = live.replace(&live[20..21], if &live[20..21] == "x" { "y" } else { "x" });
        for (path, body) in inference_requests() {
            for (what, key) in [
                ("no key", ""),
                ("not a key", "secret"),
                ("a mistyped key", &mistyped),
                ("a revoked key", revoked_key.key()),
                ("a disabled user's key", disabled_key.key()),
            ] {
                assert_refused(&format!("{what} at {path}"), paddock.caller(key).post(path, &body), 401).await?;
            }
            let anonymous = Client::new().post(format!("{}{path}", paddock.url())).json(&body);
            assert_refused(&format!("no header at {path}"), anonymous, 401).await?;
            let two = gateway.workload.post(path, &body).header("X-API-Key", admin.key());
            assert_refused(&format!("two keys at {path}"), two, 400).await?;
        }
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        ensure!(gateway.database.usage_rows().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stops_working_when_it_is_revoked_or_its_owner_disabled() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let admin = &gateway.admin;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (id, first) = admin.create_key(user, json!({})).await?;
        let (_, second) = admin.create_key(user, json!({})).await?;
        for key in [&first, &second] {
            key.post("/api/chat", &chat()).send().await?.error_for_status()?;
        }
        admin.post(&format!("/credentials/{id}/revoke"), &json!({})).send().await?.error_for_status()?;
        assert_refused("the revoked key", first.post("/api/chat", &chat()), 401).await?;
        second.post("/api/chat", &chat()).send().await?.error_for_status()?;
        let off = json!({"is_active": false});
        admin.patch(&format!("/users/{user}"), &off).send().await?.error_for_status()?;
        assert_refused("the disabled user's key", second.post("/api/chat", &chat()), 401).await?;
        assert_eq!(gateway.fake.inference_requests().len(), 3);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_needs_the_scope_of_an_endpoint() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let admin = &gateway.admin;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        for (path, body) in inference_requests() {
            let scope = match path {
                "/api/generate" => "generate",
                "/api/embed" => "embed",
                _ => "chat",
            };
            let others: Vec<_> =
                ["chat", "generate", "embed", "models:read"].into_iter().filter(|&s| s != scope).collect();
            let (_, without) = admin.create_key(user, json!({"scopes": others})).await?;
            assert_refused(&format!("a key without {scope}"), without.post(path, &body), 403).await?;
        }
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_needs_an_owner_with_a_role() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let admin = &gateway.admin;
        let nobody = admin.create_user(json!({})).await?;
        let (_, without_role) = admin.create_key(nobody, json!({})).await?;
        assert_refused("an owner without a role", without_role.post("/api/chat", &chat()), 403).await?;
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        Ok(())
    })
    .await;
}

/// Two callers that may use [`OTHER_MODEL`] only: by their key, and by its owner.
async fn narrow_callers(gateway: &GatewayFixture) -> Result<[Caller; 2]> {
    let admin = &gateway.admin;
    let user = admin.create_user(json!({"roles": ["user"]})).await?;
    let (_, narrow) = admin.create_key(user, json!({"models": [OTHER_MODEL]})).await?;
    let narrow_user = admin.create_user(json!({"roles": ["user"]})).await?;
    let models = json!({"models": [OTHER_MODEL]});
    admin.patch(&format!("/users/{narrow_user}"), &models).send().await?.error_for_status()?;
    let (_, of_narrow_user) = admin.create_key(narrow_user, json!({})).await?;
    Ok([narrow, of_narrow_user])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_allowed_is_refused_like_a_missing_one() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for caller in narrow_callers(&gateway).await? {
            for (path, mut body) in inference_requests() {
                let refusal = assert_refused("a model that is not allowed", caller.post(path, &body), 404).await?;
                body["model"] = "no-such:1b".into();
                let unknown = assert_refused("a missing model", caller.post(path, &body), 404).await?;
                assert_eq!(refusal.replace(MODEL, "?"), unknown.replace("no-such:1b", "?"));
                for spelling in ["SmolLM2:135M", "library/smollm2:135m", "registry.ollama.ai/library/smollm2:135m"] {
                    body["model"] = spelling.into();
                    assert_refused(spelling, caller.post(path, &body), 404).await?;
                }
            }
        }
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_models_have_the_allowed_ones_only() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for caller in narrow_callers(&gateway).await? {
            let tags: Value = caller.get("/api/tags").send().await?.error_for_status()?.json().await?;
            let names: Vec<_> = tags["models"].as_array().context("models")?.iter().map(|m| &m["name"]).collect();
            assert_eq!(names, [OTHER_MODEL]);
            let models: Value = caller.get("/v1/models").send().await?.error_for_status()?.json().await?;
            let ids: Vec<_> = models["data"].as_array().context("data")?.iter().map(|m| &m["id"]).collect();
            assert_eq!(ids, [OTHER_MODEL]);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ollama_could_read_differently_is_refused() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
        let bodies = [
            ("not JSON", "{".to_owned(), 400),
            ("not an object", "[]".to_owned(), 400),
            ("no model", format!("{{{messages}}}"), 400),
            ("a model that is no text", format!(r#"{{"model":1,{messages}}}"#), 400),
            ("a duplicate model", format!(r#"{{"model":"{MODEL}","model":"{OTHER_MODEL}",{messages}}}"#), 400),
            ("a second spelling of model", format!(r#"{{"model":"{MODEL}","MODEL":"{OTHER_MODEL}",{messages}}}"#), 400),
            ("an escaped model", format!(r#"{{"mod\u0065l":"{MODEL}",{messages}}}"#), 400),
            ("a Kelvin sign", format!("{{\"model\":\"{MODEL}\",\"\u{212a}eep_alive\":-1,{messages}}}"), 400),
            ("a long s", format!("{{\"model\":\"{MODEL}\",\"me\u{17f}\u{17f}ages\":[]}}"), 400),
            ("a debug switch", format!(r#"{{"model":"{MODEL}","_debug_render_only":true,{messages}}}"#), 400),
            ("data after the end", format!(r#"{{"model":"{MODEL}",{messages}}} {{}}"#), 400),
            (
                "duplicate options",
                format!(r#"{{"model":"{MODEL}","options":{{}},"options":{{"num_ctx":1}},{messages}}}"#),
                400,
            ),
            ("a load without input", format!(r#"{{"model":"{MODEL}","keep_alive":-1}}"#), 403),
            ("a cloud model", format!(r#"{{"model":"gpt-oss:120b-cloud",{messages}}}"#), 403),
            ("a name that is none", format!(r#"{{"model":"../../etc/passwd",{messages}}}"#), 400),
            ("an unknown model", format!(r#"{{"model":"no-such",{messages}}}"#), 404),
        ];
        let json = |body: String| gateway.workload.post("/api/chat", &Value::Null).body(body);
        for (what, body, status) in bodies {
            assert_refused(what, json(body), status).await?;
        }
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        ensure!(gateway.database.usage_rows().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_too_large_or_compressed_body_is_refused() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let large = json!({"model": MODEL, "messages": [{"role": "user", "content": "x".repeat(33 << 20)}]});
        assert_refused("a body over the limit", gateway.workload.post("/api/chat", &large), 413).await?;
        let packed = gateway.workload.post("/api/chat", &chat()).header("Content-Encoding", "gzip");
        assert_refused("a compressed body", packed, 415).await?;
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_encoding_that_changes_nothing_passes() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        for encoding in ["", "identity", "Identity"] {
            let request = gateway.workload.post("/api/chat", &chat()).header("Content-Encoding", encoding);
            request.send().await?.error_for_status()?.bytes().await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_or_unknown_path_is_refused() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (path, status) in [
            ("/api/push", 403),
            ("/api/create", 403),
            ("/api/copy", 403),
            ("/api/blobs", 403),
            ("/api/nothing", 404),
            ("/v1/nothing", 404),
            ("/api/tags", 405),
        ] {
            assert_refused(path, gateway.admin.post(path, &chat()), status).await?;
        }
        ensure!(gateway.fake.inference_requests().is_empty(), "{:?}", gateway.fake.inference_requests());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_requests_to_ollamas_paths_are_refused() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let push = Client::new().post(format!("{}/api/push", gateway.paddock.url())).json(&chat());
        assert_refused("a closed path", push, 401).await?;
        let version = Client::new().get(format!("{}/api/version", gateway.paddock.url()));
        assert_refused("the version", version, 401).await?;
        gateway.workload.get("/api/version").send().await?.error_for_status()?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_requests_are_recorded_once_for_each_route() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let cloud = json!({"model": "gpt-oss:120b-cloud", "messages": []});
        assert_refused("a cloud model", gateway.workload.post("/api/chat", &cloud), 403).await?;
        // All digests of a closed path are one route.
        for digest in 0..3 {
            let path = format!("/api/blobs/sha256:{digest:02}");
            assert_refused(&path, gateway.workload.post(&path, &chat()), 403).await?;
        }
        for path in ["/api/push", "/api/create", "/api/copy", "/api/blobs"] {
            assert_refused(path, gateway.admin.post(path, &chat()), 403).await?;
        }
        // Missing paths and models are not recorded.
        assert_refused("a missing path", gateway.admin.post("/api/nothing", &chat()), 404).await?;
        let unknown = json!({"model": "no-such", "messages": []});
        assert_refused("a missing model", gateway.workload.post("/api/chat", &unknown), 404).await?;
        let denied: Value = gateway.admin.get("/audit?event_type=access_denied").send().await?.json().await?;
        let targets: Vec<_> = denied.as_array().context("a list")?.iter().map(|event| &event["target"]).collect();
        assert_eq!(
            targets,
            [
                "POST /api/blobs",
                "POST /api/copy",
                "POST /api/create",
                "POST /api/push",
                "POST /api/blobs",
                "POST /api/chat"
            ]
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_reserved_options_do_not_reach_ollama() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let mut body = chat();
        body["keep_alive"] = (-1).into();
        body["options"] = json!({"temperature": 0.5});
        let request = Client::new()
            .post(format!("{}/api/chat", gateway.paddock.url()))
            .header("X-API-Key", gateway.workload.key())
            .header("Cookie", "session=1")
            .header("Origin", "http://localhost:3000")
            .header("Connection", "x-hop, keep-alive")
            .header("X-Hop", "1")
            .header("X-Request-Id", "story-1")
            .json(&body);
        let answer = request.send().await?.error_for_status()?;
        assert_eq!(answer.headers()["x-request-id"], "story-1");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        answer.text().await?;
        let seen = gateway.fake.requests("/api/chat");
        let headers = &seen[0].headers;
        for name in ["authorization", "x-api-key", "cookie", "origin", "x-hop"] {
            ensure!(!headers.contains_key(name), "{name} was forwarded: {headers:?}");
        }
        let sent = seen[0].json();
        ensure!(sent["keep_alive"].is_null(), "{sent}");
        assert_eq!(sent["options"], json!({"temperature": 0.5}));
        Ok(())
    })
    .await;
}
