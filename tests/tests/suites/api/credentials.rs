//! API keys: issued, rotated, revoked, and no further than their owner.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_api::Config;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{Api, on_both_engines};

on_both_engines! {
    a_key_works_until_it_is_revoked,
    rotation_keeps_the_identity_and_gives_the_old_secret_its_grace,
    a_key_ends_when_its_time_is_over,
    the_server_records_the_end_of_a_key,
    a_key_gives_no_more_than_it_and_its_owner_have,
    everyone_sees_their_own_keys_and_admins_all,
    lists_are_paged,
    what_an_admin_revoked_against_an_object_is_given_back,
    what_breaks_a_rule_is_named,
}

async fn a_key_works_until_it_is_revoked(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let asked = json!({"user_id": user, "label": "ci", "models": ["smollm2"], "limits": {"max_concurrent": 2}});
    let issued = api.admin("POST /credentials", 0).json(&asked).expect(201).await?;
    assert_eq!(issued.header("cache-control"), "no-store");
    let (id, key) = (issued.id("credential_id")?, issued.text("plaintext")?);

    let me = api.by(&key, "GET /me", 0).expect(200).await?;
    assert_eq!(me.json["scopes"], json!(["chat", "embed", "generate", "models:read"]));
    assert_eq!(me.json["key"]["credential_id"], id);
    assert_eq!(me.json["key"]["limits"]["max_concurrent"], 2);
    api.anonymous("GET /me", 0).header("x-api-key", &key).expect(200).await?;

    let listed = api.admin("GET /credentials", 0).query(&[("user_id", user)]).expect(200).await?;
    let listed = listed.json[0].clone();
    assert_eq!((&listed["id"], &listed["label"], &listed["revoked"]), (&json!(id), &json!("ci"), &json!(false)));
    assert_eq!(listed["models"], json!(["registry.ollama.ai/library/smollm2:*"]));
    let prefix = listed["prefix"].as_str().context("a prefix")?;
    ensure!(key.starts_with(prefix) && prefix.len() < 20, "{prefix}");
    ensure!(!listed.to_string().contains(&key));

    for _ in 0..2 {
        api.admin("POST /credentials/{id}/revoke", id).expect(204).await?;
        api.by(&key, "GET /me", 0).expect(401).await?;
    }
    let refused = api.admin("POST /credentials/{id}/rotate", id).expect(409).await?;
    assert_eq!(refused.problem(), "revoked");
    api.admin("POST /credentials/{id}/revoke", id + 1000).expect(404).await?;
    api.admin("POST /credentials/{id}/rotate", id + 1000).expect(404).await?;
    assert_eq!(api.events(2).await?, ["api_key_revoked", "api_key_issued"]);
    Ok(())
}

async fn rotation_keeps_the_identity_and_gives_the_old_secret_its_grace(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let (id, first) = api.key(user, json!({})).await?;
    let rotate = async |body: Option<Value>| {
        let request = api.admin("POST /credentials/{id}/rotate", id);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let rotated = request.expect(200).await?;
        assert_eq!(rotated.id("credential_id")?, id);
        rotated.text("plaintext")
    };
    let second = rotate(None).await?;
    let grace = match engine {
        Engine::Postgres => "extract(epoch FROM retire_at - now())::bigint::text",
        Engine::Sqlite => "CAST(retire_at / 1000000 - unixepoch() AS TEXT)",
    };
    let retiring = format!("SELECT {grace} FROM credential_secrets WHERE state = 'retiring'");
    let left: Vec<i64> =
        api.behind()?.texts(&retiring).await?.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    ensure!(matches!(left[..], [86_300..=86_400]), "a day of grace, and not {left:?} s");
    // Random as it is, it needs no slowness, which every first request with it would wait for.
    for hash in api.behind()?.texts("SELECT hash FROM credential_secrets").await? {
        ensure!(hash.starts_with("$argon2id$v=19$m=1024,t=1,p=1$"), "{hash}");
    }
    for key in [&first, &second] {
        api.by(key, "GET /me", 0).expect(200).await?;
    }
    let third = rotate(Some(json!({"grace_seconds": 0}))).await?;
    api.by(&third, "GET /me", 0).expect(200).await?;
    api.by(&second, "GET /me", 0).expect(401).await?;
    for body in [json!({"grace_seconds": -1}), json!({"grace_seconds": 2_592_001}), json!({"grace_seconds": null})] {
        let refused = api.admin("POST /credentials/{id}/rotate", id).json(&body).expect(422).await?;
        assert_eq!(refused.pointers(), ["/grace_seconds"]);
    }
    api.admin("POST /credentials/{id}/rotate", id).body("text/plain", "{}").expect(415).await?;
    assert_eq!(api.events(2).await?, ["api_key_rotated", "api_key_rotated"]);
    Ok(())
}

async fn a_key_ends_when_its_time_is_over(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({})).await?;
    let soon = paddock_store::clock::Clock::now(&paddock_store::clock::SystemClock) + Duration::from_secs(2);
    let (id, key) = api.key(user, json!({"expires_at": soon.to_string()})).await?;
    eventually("the key to end", Duration::from_secs(20), async || api.by(&key, "GET /me", 0).expect(401).await)
        .await?;
    api.admin("POST /credentials/{id}/rotate", id).expect(409).await?;
    for past in ["2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00"] {
        let asked = json!({"user_id": user, "expires_at": past});
        let refused = api.admin("POST /credentials", 0).json(&asked).expect(422).await?;
        assert_eq!(refused.pointers(), ["/expires_at"]);
    }
    Ok(())
}

async fn a_key_gives_no_more_than_it_and_its_owner_have(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let (_, minter) = api.key(admin, json!({"scopes": ["keys:write", "chat"]})).await?;
    let issue =
        |scopes: Value| api.by(&minter, "POST /credentials", 0).json(&json!({"user_id": user, "scopes": scopes}));
    issue(json!(["chat"])).expect(201).await?;
    let refused = issue(json!(["chat", "embed"])).expect(403).await?;
    ensure!(refused.text("detail")?.contains("embed"), "{refused}");
    api.by(&minter, "POST /credentials", 0).json(&json!({"user_id": user})).expect(403).await?;
    assert_eq!(api.events(1).await?, ["access_denied"]);

    // Nor by having a new secret made for a key that has more.
    let (wide, _) = api.key(user, json!({"scopes": ["chat", "embed"]})).await?;
    api.by(&minter, "POST /credentials/{id}/rotate", wide).expect(403).await?;
    let (narrow, _) = api.key(user, json!({"scopes": ["chat"]})).await?;
    api.by(&minter, "POST /credentials/{id}/rotate", narrow).expect(200).await?;
    assert_eq!(
        api.events(4).await?,
        ["api_key_rotated", "api_key_issued", "access_denied", "api_key_issued"].map(str::to_owned)
    );

    // Beyond the owner's role.
    let asked = json!({"user_id": user, "scopes": ["users:write"]});
    let refused = api.admin("POST /credentials", 0).json(&asked).expect(422).await?;
    assert_eq!(refused.pointers(), ["/scopes"]);

    // An admin's key has what it was given, not what its owner may do.
    let (_, reader) = api.key(admin, json!({"scopes": ["keys:read"]})).await?;
    api.by(&reader, "POST /credentials", 0).json(&json!({"user_id": user})).expect(403).await?;
    api.by(&reader, "GET /users", 0).expect(403).await?;
    // And it has it only as long as its owner has.
    api.by(&reader, "GET /credentials", 0).expect(200).await?;
    api.admin("PATCH /users/{id}", admin).json(&json!({"roles": []})).expect(200).await?;
    api.by(&reader, "GET /credentials", 0).expect(403).await?;
    Ok(())
}

async fn the_server_records_the_end_of_a_key(engine: Engine) -> Result<()> {
    let database = Box::pin(Database::new(engine)).await?;
    let often = |config| Config { sweep_every: Duration::from_millis(100), ..config };
    let api = Box::pin(Api::serve(database.url(), often)).await?;
    let user = api.user(json!({})).await?;
    let soon = paddock_store::clock::Clock::now(&paddock_store::clock::SystemClock) + Duration::from_secs(1);
    let (id, _) = api.key(user, json!({"expires_at": soon.to_string()})).await?;
    eventually("its end to be recorded", Duration::from_secs(20), async || {
        let told = api.admin("GET /audit", 0).query(&[("event_type", "api_key_expired")]).expect(200).await?;
        ensure!(told.json.as_array().is_some_and(|told| told.len() == 1), "{told}");
        assert_eq!((&told.json[0]["credential_id"], &told.json[0]["user_id"]), (&json!(id), &json!(user)));
        anyhow::Ok(())
    })
    .await
}

async fn lists_are_paged(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({})).await?;
    for _ in 0..5 {
        api.key(user, json!({})).await?;
    }
    let page = async |limit: &str, offset: &str| {
        let query = [("limit", limit), ("offset", offset), ("user_id", &user.to_string())];
        let answer = api.admin("GET /credentials", 0).query(&query).expect(200).await?;
        assert_eq!(answer.header("x-total-count"), "5");
        let keys = answer.json.as_array().context("a list")?;
        Ok::<_, anyhow::Error>(keys.iter().filter_map(|key| key["id"].as_i64()).collect::<Vec<_>>())
    };
    let all = page("1000", "0").await?;
    ensure!(all.len() == 5 && all.iter().rev().is_sorted(), "newest first: {all:?}");
    assert_eq!([page("2", "0").await?, page("2", "2").await?, page("2", "4").await?].concat(), all);
    assert_eq!(page("2", "5").await?, Vec::<i64>::new());
    assert_eq!(api.admin("GET /credentials", 0).expect(200).await?.header("x-total-count"), "6");
    for (name, value) in [("limit", "0"), ("limit", "1001"), ("offset", "-1"), ("page", "2")] {
        let refused = api.admin("GET /credentials", 0).query(&[(name, value)]).expect(422).await?;
        assert_eq!(refused.pointers(), [format!("?{name}")]);
    }
    Ok(())
}

async fn what_an_admin_revoked_against_an_object_is_given_back(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (user, _) = api.plain_user().await?;
    let (id, key) = api.key(user, json!({})).await?;
    api.manage("credentials", id).await?;
    let refused = api.admin("POST /credentials/{id}/rotate", id).expect(409).await?;
    ensure!(refused.text("detail")?.contains("ApiKey team-a/ci"), "{refused}");
    let shown = async || {
        let keys = api.admin("GET /credentials", 0).query(&[("user_id", user)]).expect(200).await?;
        anyhow::Ok(keys.json[0].clone())
    };
    api.admin("POST /credentials/{id}/clear-override", id).expect(204).await?;
    assert_eq!(shown().await?["managed_by"]["name"], "ci", "there was nothing to clear");
    api.admin("POST /credentials/{id}/revoke", id).expect(204).await?;
    ensure!(shown().await?["overridden_at"].is_string());
    for _ in 0..2 {
        api.admin("POST /credentials/{id}/clear-override", id).expect(204).await?;
    }
    let after = shown().await?;
    assert_eq!((&after["managed_by"], &after["overridden_at"]), (&json!(null), &json!(null)));
    assert_eq!(after["revoked"], true);
    assert_eq!(api.events(2).await?, ["override_cleared", "api_key_revoked"]);
    api.admin("POST /credentials/{id}/clear-override", id + 1000).expect(404).await?;
    api.by(&key, "POST /credentials/{id}/clear-override", id).expect(401).await?;
    let (_, plain) = api.plain_user().await?;
    api.by(&plain, "POST /credentials/{id}/clear-override", id).expect(403).await?;
    Ok(())
}

async fn everyone_sees_their_own_keys_and_admins_all(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let (id, key) = api.key(user, json!({"scopes": ["keys:read"]})).await?;
    let other = api.user(json!({"roles": ["user"]})).await?;
    let (newest, _) = api.key(other, json!({})).await?;

    let own = api.by(&key, "GET /credentials", 0).expect(200).await?;
    assert_eq!((own.header("x-total-count"), &own.json[0]["id"]), ("1", &json!(id)));
    api.by(&key, "GET /credentials", 0).query(&[("user_id", user)]).expect(200).await?;
    api.by(&key, "GET /credentials", 0).query(&[("user_id", other)]).expect(403).await?;
    let all = api.admin("GET /credentials", 0).expect(200).await?;
    assert_eq!((all.header("x-total-count"), &all.json[0]["id"]), ("3", &json!(newest)));

    let (_, plain) = api.plain_user().await?;
    api.by(&plain, "GET /credentials", 0).expect(403).await?;
    for operation in ["POST /credentials/{id}/rotate", "POST /credentials/{id}/revoke"] {
        api.by(&key, operation, id).expect(403).await?;
        api.anonymous(operation, id).expect(401).await?;
    }
    api.anonymous("GET /credentials", 0).expect(401).await?;
    api.anonymous("POST /credentials", 0).expect(401).await?;
    Ok(())
}

async fn what_breaks_a_rule_is_named(engine: Engine) -> Result<()> {
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
        let refused = api.admin("POST /credentials", 0).json(&body).expect(422).await?;
        assert_eq!(refused.pointers(), pointers, "{body}");
    }
    api.admin("POST /credentials", 0).json(&json!({"user_id": user + 1000})).expect(404).await?;
    api.admin("POST /credentials", 0).body("application/json", "{").expect(400).await?;
    api.admin("POST /credentials", 0).body("text/plain", "{}").expect(415).await?;
    api.admin("GET /credentials", 0).query(&[("user", user)]).expect(422).await?;
    assert_eq!(api.events(1).await?, ["user_created"]);
    Ok(())
}
