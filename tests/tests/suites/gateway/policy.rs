//! What is refused is refused before Ollama hears of it, in the client's dialect.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::fake_ollama::{Script, chat_lines};
use paddock_tests::story::story;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::{Front, MODEL, OTHER_MODEL, chat, streamed_chat_completion};

/// Sends a request that must be refused with `status`, in the dialect of its path.
async fn refused(what: &str, request: RequestBuilder, status: u16) -> Result<String> {
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

/// The POST paths that take a model, with a body that would do.
fn works() -> [(&'static str, Value); 4] {
    [
        ("/api/chat", chat()),
        ("/api/generate", json!({"model": MODEL, "prompt": "Say hello."})),
        ("/api/embed", json!({"model": MODEL, "input": "hello"})),
        ("/v1/chat/completions", streamed_chat_completion()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_live_key() {
    story(async {
        let front = Front::start().await?;
        let Front { admin, paddock, .. } = &front;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (revoked, revoked_key) = admin.create_key(user, json!({})).await?;
        admin.post(&format!("/credentials/{revoked}/revoke"), &json!({})).send().await?.error_for_status()?;
        let disabled = admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, disabled_key) = admin.create_key(disabled, json!({})).await?;
        let off = json!({"is_active": false});
        admin.patch(&format!("/users/{disabled}"), &off).send().await?.error_for_status()?;

        let live = front.workload.key();
        // A character of the secret changed: the checksum is wrong. And another's checksum under a secret that nobody has.
        let mistyped = live.replace(&live[20..21], if &live[20..21] == "x" { "y" } else { "x" });
        for (path, body) in works() {
            for (what, key) in [
                ("no key", ""),
                ("not a key", "secret"),
                ("a mistyped key", &mistyped),
                ("a revoked key", revoked_key.key()),
                ("a disabled user's key", disabled_key.key()),
            ] {
                refused(&format!("{what} at {path}"), paddock.caller(key).post(path, &body), 401).await?;
            }
            let anonymous = Client::new().post(format!("{}{path}", paddock.url())).json(&body);
            refused(&format!("no header at {path}"), anonymous, 401).await?;
            let two = front.workload.post(path, &body).header("X-API-Key", admin.key());
            refused(&format!("two keys at {path}"), two, 400).await?;
        }
        ensure!(front.fake.work().is_empty(), "{:?}", front.fake.work());
        ensure!(front.database.usage().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_when_it_is_revoked_or_its_owner_disabled() {
    story(async {
        let front = Front::start().await?;
        front.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let admin = &front.admin;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (id, first) = admin.create_key(user, json!({})).await?;
        let (_, second) = admin.create_key(user, json!({})).await?;
        for key in [&first, &second] {
            key.post("/api/chat", &chat()).send().await?.error_for_status()?;
        }
        admin.post(&format!("/credentials/{id}/revoke"), &json!({})).send().await?.error_for_status()?;
        refused("the revoked key", first.post("/api/chat", &chat()), 401).await?;
        second.post("/api/chat", &chat()).send().await?.error_for_status()?;
        let off = json!({"is_active": false});
        admin.patch(&format!("/users/{user}"), &off).send().await?.error_for_status()?;
        refused("the disabled user's key", second.post("/api/chat", &chat()), 401).await?;
        assert_eq!(front.fake.work().len(), 3);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_do_what_its_scopes_and_its_owners_roles_and_models_say() {
    story(async {
        let front = Front::start().await?;
        let admin = &front.admin;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        for (path, body) in works() {
            let scope = match path {
                "/api/generate" => "generate",
                "/api/embed" => "embed",
                _ => "chat",
            };
            let others: Vec<_> =
                ["chat", "generate", "embed", "models:read"].into_iter().filter(|&s| s != scope).collect();
            let (_, without) = admin.create_key(user, json!({"scopes": others})).await?;
            refused(&format!("a key without {scope}"), without.post(path, &body), 403).await?;
        }
        let nobody = admin.create_user(json!({})).await?;
        let (_, without_role) = admin.create_key(nobody, json!({})).await?;
        refused("an owner without a role", without_role.post("/api/chat", &chat()), 403).await?;

        // Not allowed and not there are answered alike.
        let (_, narrow) = admin.create_key(user, json!({"models": [OTHER_MODEL]})).await?;
        let narrow_user = admin.create_user(json!({"roles": ["user"]})).await?;
        let models = json!({"models": [OTHER_MODEL]});
        admin.patch(&format!("/users/{narrow_user}"), &models).send().await?.error_for_status()?;
        let (_, of_narrow_user) = admin.create_key(narrow_user, json!({})).await?;
        for caller in [narrow, of_narrow_user] {
            for (path, mut body) in works() {
                let refusal = refused("a model that is not allowed", caller.post(path, &body), 404).await?;
                body["model"] = "no-such:1b".into();
                let unknown = refused("a model that is not there", caller.post(path, &body), 404).await?;
                assert_eq!(refusal.replace(MODEL, "?"), unknown.replace("no-such:1b", "?"));
                for spelling in ["SmolLM2:135M", "library/smollm2:135m", "registry.ollama.ai/library/smollm2:135m"] {
                    body["model"] = spelling.into();
                    refused(spelling, caller.post(path, &body), 404).await?;
                }
            }
            let tags: Value = caller.get("/api/tags").send().await?.error_for_status()?.json().await?;
            let names: Vec<_> = tags["models"].as_array().context("models")?.iter().map(|m| &m["name"]).collect();
            assert_eq!(names, [OTHER_MODEL]);
            let models: Value = caller.get("/v1/models").send().await?.error_for_status()?.json().await?;
            let ids: Vec<_> = models["data"].as_array().context("data")?.iter().map(|m| &m["id"]).collect();
            assert_eq!(ids, [OTHER_MODEL]);
        }
        ensure!(front.fake.work().is_empty(), "{:?}", front.fake.work());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ollama_would_read_differently_is_refused() {
    story(async {
        let front = Front::start().await?;
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
            (
                "a lever on all callers",
                format!(r#"{{"model":"{MODEL}","options":{{"num_ctx":100000}},{messages}}}"#),
                400,
            ),
            (
                "an option that nobody knows",
                format!(r#"{{"model":"{MODEL}","options":{{"use_mlock":true}},{messages}}}"#),
                400,
            ),
            ("a cloud model", format!(r#"{{"model":"gpt-oss:120b-cloud",{messages}}}"#), 403),
            ("a name that is none", format!(r#"{{"model":"../../etc/passwd",{messages}}}"#), 400),
            ("an unknown model", format!(r#"{{"model":"no-such",{messages}}}"#), 404),
        ];
        let json = |body: String| front.workload.post("/api/chat", &Value::Null).body(body);
        for (what, body, status) in bodies {
            refused(what, json(body), status).await?;
        }
        let large = json!({"model": MODEL, "messages": [{"role": "user", "content": "x".repeat(33 << 20)}]});
        refused("a body over the limit", front.workload.post("/api/chat", &large), 413).await?;
        let packed = front.workload.post("/api/chat", &chat()).header("Content-Encoding", "gzip");
        refused("a packed body", packed, 415).await?;
        // However many names there are for a closed path, and methods for it, they are one refusal.
        for digest in 0..3 {
            let path = format!("/api/blobs/sha256:{digest:02}");
            refused(&path, front.workload.post(&path, &chat()), 403).await?;
        }
        for (path, status) in [
            ("/api/push", 403),
            ("/api/create", 403),
            ("/api/copy", 403),
            ("/api/blobs", 403),
            ("/api/nothing", 404),
            ("/v1/nothing", 404),
            ("/api/tags", 405),
        ] {
            refused(path, front.admin.post(path, &chat()), status).await?;
        }
        let anonymous = |path: &str| Client::new().post(format!("{}{path}", front.paddock.url())).json(&chat());
        refused("a closed path, by nobody", anonymous("/api/push"), 401).await?;
        let version = Client::new().get(format!("{}/api/version", front.paddock.url()));
        refused("the version, to nobody", version, 401).await?;
        front.workload.get("/api/version").send().await?.error_for_status()?;
        // Who was refused is on record, not what is merely not there.
        let denied: Value = front.admin.get("/audit?event_type=access_denied").send().await?.json().await?;
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
        ensure!(front.fake.work().is_empty(), "{:?}", front.fake.work());
        ensure!(front.database.usage().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_cookies_and_levers_stay_here() {
    story(async {
        let front = Front::start().await?;
        front.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let mut body = chat();
        body["keep_alive"] = (-1).into();
        body["options"] = json!({"temperature": 0.5});
        let request = Client::new()
            .post(format!("{}/api/chat", front.paddock.url()))
            .header("X-API-Key", front.workload.key())
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
        let seen = front.fake.requests("/api/chat");
        let headers = &seen[0].headers;
        for name in ["authorization", "x-api-key", "cookie", "origin", "x-hop"] {
            ensure!(!headers.contains_key(name), "{name} went on: {headers:?}");
        }
        let sent = seen[0].json();
        ensure!(sent["keep_alive"].is_null(), "{sent}");
        assert_eq!(sent["options"], json!({"temperature": 0.5}));
        Ok(())
    })
    .await;
}
