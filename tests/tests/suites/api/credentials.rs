//! API keys: issuing, rotation, revocation, expiry, and access rights.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_api::Config;
use paddock_tests::{database::Engine, eventually::eventually, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_issued_key_has_the_requested_attributes(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let asked = json!({"user_id": user, "label": "ci", "models": ["smollm2"], "limits": {"max_concurrent": 2}});
        let issued = api.admin().post("/credentials").json(&asked).expect(201).await?;
        assert_eq!(issued.header("cache-control"), "no-store");
        let (id, key) = (issued.id("credential_id")?, issued.text("plaintext")?);

        let me = api.by(&key).get("/me").expect(200).await?;
        assert_eq!(me.json["scopes"], json!(["chat", "embed", "generate", "models:read"]));
        assert_eq!(me.json["key"]["credential_id"], id);
        assert_eq!(me.json["key"]["limits"]["max_concurrent"], 2);

        let listed = api.admin().get("/credentials").query(&[("user_id", user)]).expect(200).await?;
        let listed = listed.json[0].clone();
        assert_eq!((&listed["id"], &listed["label"], &listed["revoked"]), (&json!(id), &json!("ci"), &json!(false)));
        assert_eq!(listed["models"], json!(["registry.ollama.ai/library/smollm2:*"]));
        let prefix = listed["prefix"].as_str().context("a prefix")?;
        ensure!(key.starts_with(prefix) && prefix.len() < 20, "{prefix}");
        ensure!(!listed.to_string().contains(&key));
        assert_eq!(api.events(1).await?, ["api_key_issued"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_accepted_in_the_header_x_api_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, key) = api.plain_user().await?;
        api.anonymous().get("/me").header("x-api-key", &key).expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_until_it_is_revoked(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, key) = api.key(user, json!({})).await?;
        for _ in 0..2 {
            api.admin().post(format!("/credentials/{id}/revoke")).expect(204).await?;
            api.by(&key).get("/me").expect(401).await?;
        }
        let refused = api.admin().post(format!("/credentials/{id}/rotate")).expect(409).await?;
        assert_eq!(refused.problem(), "revoked");
        assert_eq!(api.events(2).await?, ["api_key_revoked", "api_key_issued"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_not_found(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for action in ["revoke", "rotate", "clear-override"] {
            api.admin().post(format!("/credentials/1000/{action}")).expect(404).await?;
        }
        Ok(())
    })
    .await;
}

/// Rotates the key as the first admin, and returns the new secret.
async fn rotate(api: &Api, id: i64, body: Option<Value>) -> Result<String> {
    let request = api.admin().post(format!("/credentials/{id}/rotate"));
    let request = match &body {
        Some(body) => request.json(body),
        None => request,
    };
    let rotated = request.expect(200).await?;
    assert_eq!(rotated.id("credential_id")?, id);
    rotated.text("plaintext")
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn rotation_keeps_the_id_and_gives_the_old_secret_a_day_of_grace(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, first) = api.key(user, json!({})).await?;
        let second = rotate(&api, id, None).await?;
        let grace = match engine {
            Engine::Postgres => "extract(epoch FROM retire_at - now())::bigint::text",
            Engine::Sqlite => "CAST(retire_at / 1000000 - unixepoch() AS TEXT)",
        };
        let retiring = format!("SELECT {grace} FROM credential_secrets WHERE state = 'retiring'");
        let left: Vec<i64> =
            api.database()?.texts(&retiring).await?.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        ensure!(matches!(left[..], [86_300..=86_400]), "a day of grace, and not {left:?} s");
        for key in [&first, &second] {
            api.by(key).get("/me").expect(200).await?;
        }
        assert_eq!(api.events(1).await?, ["api_key_rotated"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_hashed_with_cheap_parameters(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        // A secret is random, so it needs no slow hash, which would delay its first request.
        for hash in api.database()?.texts("SELECT hash FROM credential_secrets").await? {
            ensure!(hash.starts_with("$argon2id$v=19$m=1024,t=1,p=1$"), "{hash}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn rotation_with_a_grace_of_zero_ends_the_old_secret_at_once(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, old) = api.key(user, json!({})).await?;
        let new = rotate(&api, id, Some(json!({"grace_seconds": 0}))).await?;
        api.by(&new).get("/me").expect(200).await?;
        api.by(&old).get("/me").expect(401).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn rotation_rejects_an_invalid_body(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, _) = api.key(user, json!({})).await?;
        let path = format!("/credentials/{id}/rotate");
        for body in [json!({"grace_seconds": -1}), json!({"grace_seconds": 2_592_001}), json!({"grace_seconds": null})]
        {
            let refused = api.admin().post(&path).json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), ["/grace_seconds"]);
        }
        api.admin().post(&path).body("text/plain", "{}").expect(415).await?;
        assert_eq!(api.events(1).await?, ["api_key_issued"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_at_its_time(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({})).await?;
        let soon = paddock_store::clock::Clock::now(&paddock_store::clock::SystemClock) + Duration::from_secs(2);
        let (id, key) = api.key(user, json!({"expires_at": soon.to_string()})).await?;
        eventually("the key to expire", Duration::from_secs(20), async || api.by(&key).get("/me").expect(401).await)
            .await?;
        api.admin().post(format!("/credentials/{id}/rotate")).expect(409).await?;
        for past in ["2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00"] {
            let asked = json!({"user_id": user, "expires_at": past});
            let refused = api.admin().post("/credentials").json(&asked).expect(422).await?;
            assert_eq!(refused.pointers(), ["/expires_at"]);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admins_key_may_do_only_what_its_scopes_and_its_owners_present_roles_allow(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, reader) = api.key(admin, json!({"scopes": ["keys:read"]})).await?;
        api.by(&reader).post("/credentials").json(&json!({"user_id": user})).expect(403).await?;
        api.by(&reader).get("/users").expect(403).await?;
        api.by(&reader).get("/credentials").expect(200).await?;
        api.admin().patch(format!("/users/{admin}")).json(&json!({"roles": []})).expect(200).await?;
        api.by(&reader).get("/credentials").expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_server_records_the_expiry_of_a_key(#[case] engine: Engine) {
    story(async {
        let api =
            Api::start_with(engine, |config| Config { sweep_interval: Duration::from_millis(100), ..config }).await?;
        let user = api.user(json!({})).await?;
        let soon = paddock_store::clock::Clock::now(&paddock_store::clock::SystemClock) + Duration::from_secs(1);
        let (id, _) = api.key(user, json!({"expires_at": soon.to_string()})).await?;
        eventually("its expiry to be recorded", Duration::from_secs(20), async || {
            let recorded = api.admin().get("/audit").query(&[("event_type", "api_key_expired")]).expect(200).await?;
            ensure!(recorded.json.as_array().is_some_and(|events| events.len() == 1), "{recorded}");
            assert_eq!((&recorded.json[0]["credential_id"], &recorded.json[0]["user_id"]), (&json!(id), &json!(user)));
            anyhow::Ok(())
        })
        .await
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({})).await?;
        for _ in 0..5 {
            api.key(user, json!({})).await?;
        }
        let page = async |limit: &str, offset: &str| {
            let query = [("limit", limit), ("offset", offset), ("user_id", &user.to_string())];
            let answer = api.admin().get("/credentials").query(&query).expect(200).await?;
            assert_eq!(answer.header("x-total-count"), "5");
            let keys = answer.json.as_array().context("a list")?;
            Ok::<_, anyhow::Error>(keys.iter().filter_map(|key| key["id"].as_i64()).collect::<Vec<_>>())
        };
        let all = page("1000", "0").await?;
        ensure!(all.len() == 5 && all.iter().rev().is_sorted(), "newest first: {all:?}");
        assert_eq!([page("2", "0").await?, page("2", "2").await?, page("2", "4").await?].concat(), all);
        assert_eq!(page("2", "5").await?, Vec::<i64>::new());
        assert_eq!(api.admin().get("/credentials").expect(200).await?.header("x-total-count"), "6");
        for (name, value) in [("limit", "0"), ("limit", "1001"), ("offset", "-1"), ("page", "2")] {
            let refused = api.admin().get("/credentials").query(&[(name, value)]).expect(422).await?;
            assert_eq!(refused.pointers(), [format!("?{name}")]);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_clears_the_override_of_a_managed_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, _) = api.plain_user().await?;
        let (id, key) = api.key(user, json!({})).await?;
        api.manage("credentials", id).await?;
        let refused = api.admin().post(format!("/credentials/{id}/rotate")).expect(409).await?;
        ensure!(refused.text("detail")?.contains("ApiKey team-a/ci"), "{refused}");
        let shown = async || {
            let keys = api.admin().get("/credentials").query(&[("user_id", user)]).expect(200).await?;
            anyhow::Ok(keys.json[0].clone())
        };
        api.admin().post(format!("/credentials/{id}/clear-override")).expect(204).await?;
        assert_eq!(shown().await?["managed_by"]["name"], "ci", "there was no override to clear");
        api.admin().post(format!("/credentials/{id}/revoke")).expect(204).await?;
        ensure!(shown().await?["overridden_at"].is_string());
        for _ in 0..2 {
            api.admin().post(format!("/credentials/{id}/clear-override")).expect(204).await?;
        }
        let after = shown().await?;
        assert_eq!((&after["managed_by"], &after["overridden_at"]), (&json!(null), &json!(null)));
        assert_eq!(after["revoked"], true);
        assert_eq!(api.events(2).await?, ["override_cleared", "api_key_revoked"]);
        api.by(&key).post(format!("/credentials/{id}/clear-override")).expect(401).await?;
        let (_, plain) = api.plain_user().await?;
        api.by(&plain).post(format!("/credentials/{id}/clear-override")).expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn users_see_their_own_keys_and_admins_all(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, key) = api.key(user, json!({"scopes": ["keys:read"]})).await?;
        let other = api.user(json!({"roles": ["user"]})).await?;
        let (newest, _) = api.key(other, json!({})).await?;

        let own = api.by(&key).get("/credentials").expect(200).await?;
        assert_eq!((own.header("x-total-count"), &own.json[0]["id"]), ("1", &json!(id)));
        api.by(&key).get("/credentials").query(&[("user_id", user)]).expect(200).await?;
        api.by(&key).get("/credentials").query(&[("user_id", other)]).expect(403).await?;
        let all = api.admin().get("/credentials").expect(200).await?;
        assert_eq!((all.header("x-total-count"), &all.json[0]["id"]), ("3", &json!(newest)));

        let (_, plain) = api.plain_user().await?;
        api.by(&plain).get("/credentials").expect(403).await?;
        for operation in ["POST /credentials/{id}/rotate", "POST /credentials/{id}/revoke"] {
            api.by(&key).operation(operation, newest).expect(403).await?;
            api.anonymous().operation(operation, newest).expect(401).await?;
        }
        api.anonymous().get("/credentials").expect(401).await?;
        api.anonymous().post("/credentials").expect(401).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_is_refused_with_the_field(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let bodies = [
            (json!({}), vec!["/user_id"]),
            (json!({"user_id": "1"}), vec!["/user_id"]),
            (json!({"user_id": user, "label": ""}), vec!["/label"]),
            (json!({"user_id": user, "label": "a\u{0}b"}), vec!["/label"]),
            (json!({"user_id": user, "label": "a\u{200b}b"}), vec!["/label"]),
            (json!({"user_id": user, "scopes": ["teleport"]}), vec!["/scopes/0"]),
            (json!({"user_id": user, "models": ["../etc"]}), vec!["/models/0"]),
            (json!({"user_id": user, "limits": {"max_concurrent": -1}}), vec!["/limits/max_concurrent"]),
            (json!({"user_id": user, "limits": {"max_concurrent": "1"}}), vec!["/limits/max_concurrent"]),
            (json!({"user_id": user, "limits": [1, 2]}), vec!["/limits"]),
            (json!({"user_id": user, "expires_at": "tomorrow"}), vec!["/expires_at"]),
            (json!({"user_id": user, "secret": "mine"}), vec!["/secret"]),
        ];
        for (body, pointers) in bodies {
            let refused = api.admin().post("/credentials").json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), pointers, "{body}");
        }
        api.admin().post("/credentials").json(&json!({"user_id": user + 1000})).expect(404).await?;
        api.admin().post("/credentials").body("application/json", "{").expect(400).await?;
        api.admin().post("/credentials").body("text/plain", "{}").expect(415).await?;
        api.admin().get("/credentials").query(&[("user", user)]).expect(422).await?;
        assert_eq!(api.events(1).await?, ["user_created"]);
        Ok(())
    })
    .await;
}
