//! Models and pulls over HTTP, in front of a scripted Ollama. The suite `models` pulls for real.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    fake_ollama::{End, Script},
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

/// How long a pull may take to end, and a stream after its caller lost its rights.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The canonical name of a model of the default registry.
fn canonical(name: &str) -> String {
    format!("registry.ollama.ai/library/{name}")
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_joins_backends_objects_and_pulls(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let loaded = json!({"models": [{"name": super::MODEL, "expires_at": "2026-11-24T05:10:53.6Z", "size_vram": 7}]});
        api.fake.script("/api/ps", Script::json(StatusCode::OK, &loaded));
        let owned = format!(
            "INSERT INTO models (model, origin, managed_cluster, managed_namespace, managed_name, managed_uid, created_at, updated_at) \
             SELECT '{}', 'pulled', 'c', 'team-a', 'm', 'u', created_at, created_at FROM users WHERE id = 1",
            canonical("owned:1")
        );
        api.database()?.execute(&owned).await?;
        let job = start(&api, "pulled:1", 202).await?;

        let list = api.admin().get("/models").expect(200).await?.json;
        assert_eq!(list["backends"], json!([{"url": api.fake.url(), "reachable": true, "error": null}]));
        let models = list["models"].as_array().context("models")?;
        let names: Vec<_> = models.iter().filter_map(|model| model["name"].as_str()).collect();
        assert_eq!(names, ["owned:1", "pulled:1", super::MODEL]);
        let on_backend = |index: usize| &models[index]["backends"][0];
        assert_eq!((&on_backend(0)["present"], &models[0]["managed_by"][0]["name"]), (&json!(false), &json!("m")));
        assert_eq!((&on_backend(1)["present"], &models[1]["pull"]["job"]), (&json!(false), &json!(job)));
        let here = json!({
            "url": api.fake.url(), "reachable": true, "present": true, "digest": format!("sha256:{}", "0".repeat(64)),
            "size_bytes": 98_000_000, "loaded": true, "loaded_until": "2026-11-24T05:10:53.6Z", "vram_bytes": 7,
        });
        assert_eq!((on_backend(2), &models[2]["managed_by"]), (&here, &json!([])));
        Ok(())
    })
    .await;
}

/// Starts a pull, which gets this status. Returns its id.
async fn start(api: &Api, model: &str, status: u16) -> Result<i64> {
    api.admin().post("/models/pull").json(&json!({"model": model})).expect(status).await?.id("job")
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_pull_joins_until_the_first_ends(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let first = start(&api, "m:1", 202).await?;
        for same in ["M:1", "library/m:1", "https://registry.ollama.ai/library/m:1"] {
            assert_eq!(start(&api, same, 200).await?, first);
        }
        let other = start(&api, "m:2", 202).await?;
        ensure!(other != first);
        api.admin().delete(format!("/models/pull/{first}")).expect(204).await?;
        let again = start(&api, "m:1", 202).await?;
        let list = api.admin().get("/models/pull").query(&[("limit", 2), ("offset", 1)]).expect(200).await?;
        assert_eq!(list.header("x-total-count"), "3");
        let states: Vec<_> =
            list.json.as_array().context("a list")?.iter().map(|pull| (pull["job"].as_i64(), &pull["state"])).collect();
        assert_eq!(states, [(Some(other), &json!("queued")), (Some(first), &json!("cancelled"))]);
        assert_eq!(api.admin().get(format!("/models/pull/{again}")).expect(200).await?.json["credential_id"], 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::no_name("a b", "/model")]
#[case::empty("", "/model")]
#[case::cloud("gpt-oss:120b-cloud", "/model")]
#[case::registry("evil.example/a/b", "/model")]
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_pulled_is_refused(#[case] model: &str, #[case] pointer: &str) {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let refused = api.admin().post("/models/pull").json(&json!({"model": model})).expect(422).await?;
        assert_eq!(refused.pointers(), [pointer]);
        let insecure = json!({"model": "m:1", "insecure": true});
        let refused = api.admin().post("/models/pull").json(&insecure).expect(422).await?;
        assert_eq!(refused.pointers(), ["/insecure"]);
        assert_eq!(api.admin().get("/models/pull").expect(200).await?.json, json!([]));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_pull_or_model_is_not_found() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let before = api.events(500).await?;
        for path in ["/models/pull/7", "/models/pull/7/events"] {
            api.admin().get(path).expect(404).await?;
        }
        api.admin().delete("/models/pull/7").expect(404).await?;
        api.admin().delete("/models/unknown:1").expect(404).await?;
        let refused = api.admin().delete("/models/a%20b").expect(422).await?;
        assert_eq!(refused.pointers(), ["{name}"]);
        api.admin().get("/models/pull/seven").expect(422).await?;
        assert_eq!(api.events(500).await?, before);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_ollama_refuses_is_recorded_as_failed() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let failure = json!({"error": "disk failure"});
        api.fake.script("/api/delete", Script::json(StatusCode::INTERNAL_SERVER_ERROR, &failure));
        let failed = api.admin().delete(format!("/models/{}", super::MODEL)).expect(502).await?;
        assert_eq!(failed.problem(), "upstream-failed");
        assert_eq!(api.events(2).await?, ["model_deletion_failed", "model_deleted"]);
        let sent = api.fake.requests("/api/delete");
        assert_eq!(sent[0].json(), json!({"model": canonical(super::MODEL)}));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_is_sent_for_a_registry_that_allows_it_alone() {
    story(async {
        let registries = ["registry.ollama.ai", "http://plain.example:5000", "tls.example"];
        let registries = registries.map(|text| text.parse().expect("a registry")).to_vec();
        let api = Api::start_with(Engine::Sqlite, |config| paddock_api::Config {
            model_registries: registries,
            max_pulls: 1,
            ..config
        })
        .await?;
        api.fake.script("/api/pull", Script::ndjson([r#"{"status":"success"}"#]));
        for model in ["Plain.example:5000/Team/M:1", "tls.example/a/m:1", "m:1"] {
            let job = start(&api, model, 202).await?;
            eventually("the end of the pull", EVENT_TIMEOUT, async || {
                let pull = api.admin().get(format!("/models/pull/{job}")).expect(200).await?.json;
                ensure!(pull["state"] == "succeeded", "{pull}");
                Ok(())
            })
            .await?;
        }
        let sent: Vec<Value> = api.fake.requests("/api/pull").iter().map(|request| request.json()).collect();
        let expected = [
            json!({"model": "Plain.example:5000/Team/M:1", "insecure": true, "stream": true}),
            json!({"model": "tls.example/a/m:1", "stream": true}),
            json!({"model": canonical("m:1"), "stream": true}),
        ];
        assert_eq!(sent, expected);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_loses_its_rights_stops_following() {
    story(async {
        let api = Api::start_with(Engine::Sqlite, |config| paddock_api::Config { max_pulls: 1, ..config }).await?;
        let digest = format!("sha256:{}", "a".repeat(64));
        let layer = json!({"status": "pulling aaaaaaaaaaaa", "digest": digest, "total": 100, "completed": 7});
        api.fake.script("/api/pull", Script::ndjson([layer]).ending(End::Hang));
        let job = start(&api, "m:1", 202).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let (credential, key) = api.key(admin, json!({"scopes": ["models:read"]})).await?;
        let url = format!("{}/models/pull/{job}/events", api.contract.url);
        let events = reqwest::Client::new().get(url).bearer_auth(key).send().await?.error_for_status()?;
        api.admin().post(format!("/credentials/{credential}/revoke")).expect(204).await?;
        let text = tokio::time::timeout(EVENT_TIMEOUT, events.text()).await??;
        ensure!(text.starts_with("event: progress\n") && !text.contains("event: end"), "{text}");
        Ok(())
    })
    .await;
}
