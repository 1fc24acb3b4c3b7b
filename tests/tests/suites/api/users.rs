//! Users: their life, and who may touch them.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Engine;
use serde_json::json;

use super::authorization::SCOPES;
use super::{Api, on_both_engines};

on_both_engines! {
    a_user_is_created_found_and_changed,
    creation_is_idempotent_by_external_id,
    a_patch_merges,
    a_deleted_user_is_gone_and_its_address_free,
    who_may_not_be_deleted_is_told_why,
    patches_and_creations_at_once_lose_nothing,
    the_last_admin_stays,
    only_a_key_with_every_scope_touches_admins,
    lists_are_paged_and_searched,
    only_admins_manage_and_everyone_sees_themselves,
    what_breaks_a_rule_is_named_and_changes_nothing,
}

async fn a_user_is_created_found_and_changed(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let ada = json!({"email": "Ada@Example.COM", "display_name": "Ada", "roles": ["user"]});
    let created = api.admin("POST /users", 0).json(&ada).expect(201).await?;
    let id = created.id("id")?;
    assert_eq!(created.json["email"], "ada@example.com");
    assert_eq!(created.json["is_active"], true);
    assert_eq!(created.json["managed_by"], json!(null));

    let again = api.admin("POST /users", 0).json(&json!({"email": "ada@example.com"})).expect(409).await?;
    assert_eq!(again.problem(), "user-exists");
    ensure!(again.text("detail")?.starts_with("User exists"), "{again}");

    let change = json!({"display_name": "Ada Lovelace", "is_active": false});
    let changed = api.admin("PATCH /users/{id}", id).json(&change).expect(200).await?;
    assert_eq!(changed.json["display_name"], "Ada Lovelace");
    let shown = api.admin("GET /users/{id}", id).expect(200).await?;
    assert_eq!(shown.json, changed.json);
    let unchanged = api.admin("PATCH /users/{id}", id).json(&change).expect(200).await?;
    assert_eq!(unchanged.json, changed.json);

    api.admin("GET /users/{id}", id + 1000).expect(404).await?;
    api.admin("PATCH /users/{id}", id + 1000).json(&change).expect(404).await?;
    let limits = json!({"limits": {"max_concurrent": 1}});
    api.admin("PATCH /users/{id}", id + 1000).json(&limits).expect(404).await?;
    assert_eq!(api.events(2).await?, ["user_disabled", "user_created"]);
    Ok(())
}

async fn creation_is_idempotent_by_external_id(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let ada = json!({"email": "ada@example.com", "external_id": "hr-7"});
    let first = api.admin("POST /users", 0).json(&ada).expect(201).await?;
    let second = api.admin("POST /users", 0).json(&ada).expect(200).await?;
    assert_eq!(first.json, second.json);
    let other = json!({"email": "eve@example.com", "external_id": "hr-7"});
    api.admin("POST /users", 0).json(&other).expect(409).await?;
    Ok(())
}

async fn a_patch_merges(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let id = api.user(json!({"display_name": "Ada", "roles": ["user"]})).await?;
    let patch =
        async |body| Ok::<_, anyhow::Error>(api.admin("PATCH /users/{id}", id).json(&body).expect(200).await?.json);
    let limits = patch(json!({"limits": {"requests_per_minute": 60, "max_concurrent": 4}})).await?["limits"].clone();
    assert_eq!((&limits["requests_per_minute"], &limits["max_concurrent"]), (&json!(60), &json!(4)));
    let limits = patch(json!({"limits": {"max_concurrent": null, "tokens_per_day": 0}})).await?["limits"].clone();
    assert_eq!(
        (&limits["requests_per_minute"], &limits["max_concurrent"], &limits["tokens_per_day"]),
        (&json!(60), &json!(null), &json!(0))
    );
    assert_eq!(patch(json!({"limits": null})).await?["limits"]["requests_per_minute"], json!(null));
    let models = patch(json!({"models": ["SmolLM2", "library/smollm2:*"]})).await?["models"].clone();
    assert_eq!(models, json!(["registry.ollama.ai/library/smollm2:*"]));
    assert_eq!(patch(json!({"models": []})).await?["models"], json!([]));
    assert_eq!(patch(json!({"models": null})).await?["models"], json!(null));
    assert_eq!(patch(json!({"display_name": null})).await?["display_name"], json!(null));
    assert_eq!(patch(json!({"roles": null})).await?["roles"], json!([]));
    let merge_patch = api.admin("PATCH /users/{id}", id).body("application/merge-patch+json", r#"{"roles":["admin"]}"#);
    assert_eq!(merge_patch.expect(200).await?.json["roles"], json!(["admin"]));
    Ok(())
}

async fn a_deleted_user_is_gone_and_its_address_free(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let ada = json!({"email": "ada@example.com", "display_name": "Ada", "external_id": "hr-7", "roles": ["user"]});
    let id = api.admin("POST /users", 0).json(&ada).expect(201).await?.id("id")?;
    let (key_id, key) = api.key(id, json!({})).await?;
    let deleted = api.admin("DELETE /users/{id}", id).expect(204).await?;
    ensure!(deleted.body.is_empty());
    assert_eq!(api.events(1).await?, ["user_deleted"]);
    api.by(&key, "GET /me", 0).expect(401).await?;
    for operation in ["GET /users/{id}", "DELETE /users/{id}"] {
        api.admin(operation, id).expect(404).await?;
    }
    api.admin("PATCH /users/{id}", id).json(&json!({"display_name": "Eve"})).expect(404).await?;
    api.admin("POST /credentials", 0).json(&json!({"user_id": id})).expect(404).await?;
    // Its keys stay in the list, for those who look into the past.
    let keys = api.admin("GET /credentials", 0).query(&[("user_id", id)]).expect(200).await?;
    assert_eq!((&keys.json[0]["id"], &keys.json[0]["revoked"]), (&json!(key_id), &json!(true)));
    for q in ["ada", "hr-7"] {
        assert_eq!(api.admin("GET /users", 0).query(&[("q", q)]).expect(200).await?.header("x-total-count"), "0");
    }
    let again = api.admin("POST /users", 0).json(&ada).expect(201).await?;
    ensure!(again.id("id")? > id, "an id is never used again");
    assert_eq!(api.admin("GET /users", 0).query(&[("q", "HR-7")]).expect(200).await?.header("x-total-count"), "1");
    Ok(())
}

async fn who_may_not_be_deleted_is_told_why(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let me = api.admin("GET /me", 0).expect(200).await?.id("id")?;
    let refused = api.admin("DELETE /users/{id}", me).expect(409).await?;
    assert_eq!(refused.problem(), "last-admin");
    api.admin("GET /me", 0).expect(200).await?;

    let ada = api.user(json!({"roles": ["user"]})).await?;
    api.manage("users", ada).await?;
    let refused = api.admin("DELETE /users/{id}", ada).expect(409).await?;
    assert_eq!(refused.problem(), "managed");
    ensure!(refused.text("detail")?.contains("ApiUser team-a/ci"), "{refused}");

    // With another admin there, one may go oneself.
    let second = api.user(json!({"roles": ["admin"]})).await?;
    let (_, key) = api.key(second, json!({"scopes": SCOPES})).await?;
    api.admin("DELETE /users/{id}", me).expect(204).await?;
    api.admin("GET /me", 0).expect(401).await?;
    api.by(&key, "GET /users/{id}", me).expect(404).await?;
    let refused = api.by(&key, "DELETE /users/{id}", second).expect(409).await?;
    assert_eq!(refused.problem(), "last-admin");
    Ok(())
}

async fn patches_and_creations_at_once_lose_nothing(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let id = api.user(json!({})).await?;
    let names = ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month", "max_concurrent"];
    for round in 1..=5 {
        let patches = names.map(async |name| {
            let patch = json!({"limits": {name: round}});
            api.admin("PATCH /users/{id}", id).json(&patch).expect(200).await
        });
        futures_util::future::try_join_all(patches).await?;
        let limits = api.admin("GET /users/{id}", id).expect(200).await?.json["limits"].clone();
        for name in names {
            assert_eq!(limits[name], json!(round), "{name} in {limits}");
        }
    }
    let ada = json!({"email": "ada@example.com", "external_id": "hr-7"});
    let created = (0..20).map(|_| async {
        // Either is right; the contract checks it.
        match api.admin("POST /users", 0).json(&ada).expect(201).await {
            Ok(created) => created.id("id").map(|id| (201, id)),
            Err(_) => api.admin("POST /users", 0).json(&ada).expect(200).await?.id("id").map(|id| (200, id)),
        }
    });
    let created = futures_util::future::try_join_all(created).await?;
    assert_eq!(created.iter().filter(|(status, _)| *status == 201).count(), 1, "{created:?}");
    ensure!(created.iter().all(|(_, id)| *id == created[0].1), "{created:?}");
    Ok(())
}

async fn the_last_admin_stays(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.admin("GET /me", 0).expect(200).await?.id("id")?;
    // With a limit of 0 it could not even take that back.
    let mute = json!({"limits": {"requests_per_minute": 0}});
    for leaving in [json!({"is_active": false}), json!({"roles": ["user"]}), json!({"roles": []}), mute.clone()] {
        let refused = api.admin("PATCH /users/{id}", admin).json(&leaving).expect(409).await?;
        assert_eq!(refused.problem(), "last-admin");
    }
    let other = api.user(json!({"roles": ["admin"]})).await?;
    let (_, key) = api.key(other, json!({"scopes": SCOPES})).await?;
    // One who may ask nothing is none of those who could.
    api.admin("PATCH /users/{id}", other).json(&mute).expect(200).await?;
    let refused = api.admin("PATCH /users/{id}", admin).json(&mute).expect(409).await?;
    assert_eq!(refused.problem(), "last-admin");
    api.admin("PATCH /users/{id}", other).json(&json!({"limits": null})).expect(200).await?;
    api.by(&key, "PATCH /users/{id}", admin).json(&json!({"is_active": false})).expect(200).await?;
    api.admin("GET /me", 0).expect(401).await?;
    Ok(())
}

async fn only_a_key_with_every_scope_touches_admins(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    // All but one.
    let (_, narrow) = api.key(admin, json!({"scopes": SCOPES[1..]})).await?;
    let users = async || Ok::<_, anyhow::Error>(api.admin("GET /users", 0).expect(200).await?.json);
    let before = users().await?;
    let address = json!({"email": "eve@example.com", "roles": ["user", "admin"]});
    for (operation, id, body) in [
        ("POST /users", 0, address.clone()),
        ("PATCH /users/{id}", user, json!({"roles": ["admin"]})),
        ("PATCH /users/{id}", admin, json!({"roles": ["user"]})),
        ("PATCH /users/{id}", 1, json!({"is_active": false})),
        ("PATCH /users/{id}", 1, json!({"limits": {"requests_per_minute": 1}})),
        ("PATCH /users/{id}", 1, json!({"models": []})),
        ("PATCH /users/{id}", 1, json!({"display_name": "Eve"})),
    ] {
        let refused = api.by(&narrow, operation, id).json(&body).expect(403).await?;
        ensure!(refused.text("detail")?.ends_with(&format!("this one lacks {}", SCOPES[0])), "{body}: {refused}");
    }
    api.by(&narrow, "DELETE /users/{id}", 1).expect(403).await?;
    assert_eq!(users().await?, before);
    // One of each route; the others are counted in it.
    assert_eq!(api.events(3).await?, ["access_denied"; 3]);

    // Users who are none are its business.
    let patch = json!({"display_name": "Ada", "roles": ["user"], "limits": {"requests_per_minute": 5}});
    api.by(&narrow, "PATCH /users/{id}", user).json(&patch).expect(200).await?;
    let bob = json!({"email": "bob@example.com", "roles": ["user"]});
    let bob = api.by(&narrow, "POST /users", 0).json(&bob).expect(201).await?.id("id")?;
    api.by(&narrow, "DELETE /users/{id}", bob).expect(204).await?;

    // Every scope, or a session, does all of it.
    let (_, wide) = api.key(admin, json!({"scopes": SCOPES})).await?;
    for credential in [wide, api.session().await?] {
        let eve = api.by(&credential, "POST /users", 0).json(&address).expect(201).await?.id("id")?;
        api.by(&credential, "PATCH /users/{id}", eve).json(&json!({"roles": []})).expect(200).await?;
        api.by(&credential, "PATCH /users/{id}", eve).json(&json!({"roles": ["admin"]})).expect(200).await?;
        api.by(&credential, "DELETE /users/{id}", eve).expect(204).await?;
    }
    Ok(())
}

async fn lists_are_paged_and_searched(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    for name in ["Gwen", "Bo", "100%", "Cy"] {
        api.user(json!({"display_name": name})).await?;
    }
    let page = async |limit: &str, offset: &str| {
        let query = [("limit", limit), ("offset", offset)];
        let answer = api.admin("GET /users", 0).query(&query).expect(200).await?;
        assert_eq!(answer.header("x-total-count"), "5");
        let users = answer.json.as_array().context("a list")?;
        Ok::<_, anyhow::Error>(users.iter().filter_map(|user| user["id"].as_i64()).collect::<Vec<_>>())
    };
    let all = page("200", "0").await?;
    ensure!(all.is_sorted() && all.len() == 5, "{all:?}");
    assert_eq!([page("2", "0").await?, page("2", "2").await?, page("2", "4").await?].concat(), all);
    assert_eq!(page("1", "5").await?, Vec::<i64>::new());
    for (q, found) in [("gWEN", "1"), ("%", "1"), ("_", "0"), ("example.com", "5"), ("\\", "0")] {
        let answer = api.admin("GET /users", 0).query(&[("q", q)]).expect(200).await?;
        assert_eq!(answer.header("x-total-count"), found, "{q}");
    }
    for (query, pointer) in [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("limit=x", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("offset=-1", "?offset"),
        ("offset=4294967296", "?offset"),
        ("q=%00", "?q"),
        ("page=1", "?page"),
    ] {
        let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        // %00 as it is, not escaped again.
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name, value.replace("%00", "\0"))).collect();
        let refused = api.admin("GET /users", 0).query(&pairs).expect(422).await?;
        assert_eq!(refused.pointers(), [pointer], "{query}");
    }
    Ok(())
}

async fn only_admins_manage_and_everyone_sees_themselves(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let other = api.user(json!({})).await?;
    let (_, all) = api.key(user, json!({"scopes": ["users:read", "keys:read"]})).await?;
    let (_, chat) = api.key(user, json!({"scopes": ["chat"]})).await?;
    let (_, no_role) = api.key(other, json!({})).await?;

    api.by(&all, "GET /users/{id}", user).expect(200).await?;
    api.by(&chat, "GET /users/{id}", user).expect(403).await?;
    // Another's id answers the same whether it is there or not.
    let there = api.by(&all, "GET /users/{id}", other).expect(403).await?;
    let not_there = api.by(&all, "GET /users/{id}", other + 1000).expect(403).await?;
    assert_eq!(there.json["detail"], not_there.json["detail"]);
    assert_eq!(api.events(1).await?, ["access_denied"]);

    for key in [&all, &chat, &no_role] {
        api.by(key, "GET /users", 0).expect(403).await?;
        // Permission comes first: what is in the body does not matter.
        api.by(key, "POST /users", 0).json(&json!({"nonsense": 1})).expect(403).await?;
        api.by(key, "PATCH /users/{id}", user).json(&json!({"roles": ["admin"]})).expect(403).await?;
        api.by(key, "DELETE /users/{id}", user).expect(403).await?;
        api.by(key, "GET /me", 0).expect(200).await?;
    }
    for operation in
        ["GET /users", "POST /users", "GET /users/{id}", "PATCH /users/{id}", "DELETE /users/{id}", "GET /me"]
    {
        let refused = api.anonymous(operation, user).expect(401).await?;
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    Ok(())
}

async fn what_breaks_a_rule_is_named_and_changes_nothing(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let id = api.user(json!({})).await?;
    let long = "x".repeat(201);
    let create = [
        (json!({}), vec!["/email"]),
        (json!({"email": 5}), vec!["/email"]),
        (json!({"email": "nobody"}), vec!["/email"]),
        (json!({"email": "a\u{0}b@example.com"}), vec!["/email"]),
        (json!({"email": "a\u{200b}b@example.com"}), vec!["/email"]),
        (json!({"email": "a@example.com", "display_name": "a\u{0}b"}), vec!["/display_name"]),
        (json!({"email": "a@example.com", "display_name": long}), vec!["/display_name"]),
        (json!({"email": "a@example.com", "external_id": ""}), vec!["/external_id"]),
        (json!({"email": "a@example.com", "external_id": "a\u{202e}b"}), vec!["/external_id"]),
        (json!({"email": "a@example.com", "display_name": "a\u{200d}b"}), vec!["/display_name"]),
        (json!({"email": "a@example.com", "display_name": "\u{feff}"}), vec!["/display_name"]),
        (json!({"email": "a@example.com", "display_name": "  "}), vec!["/display_name"]),
        (json!({"email": "a@example.com", "roles": ["root"]}), vec!["/roles/0"]),
        (json!({"email": "a@example.com", "roles": "admin"}), vec!["/roles"]),
        (json!({"email": "a@example.com", "is_admin": true, "passwrd": 1}), vec!["/is_admin", "/passwrd"]),
        (json!([]), vec![""]),
    ];
    for (body, pointers) in create {
        let refused = api.admin("POST /users", 0).json(&body).expect(422).await?;
        assert_eq!(refused.pointers(), pointers, "{body}");
    }
    let change = [
        (json!({"is_active": null}), vec!["/is_active"]),
        (json!({"limits": {"requests_per_minute": -1}}), vec!["/limits/requests_per_minute"]),
        (json!({"limits": {"requests": 1, "tokens_per_day": 1.5}}), vec!["/limits/requests", "/limits/tokens_per_day"]),
        (json!({"models": ["a b", "llama3.2", ""]}), vec!["/models/0", "/models/2"]),
        (json!({"limits": [7, 8]}), vec!["/limits"]),
        (json!({"display_name": "a\u{0}b"}), vec!["/display_name"]),
        (json!({"display_name": "a\u{2066}b"}), vec!["/display_name"]),
        (json!({"display_name": long}), vec!["/display_name"]),
        (json!({"email": "other@example.com"}), vec!["/email"]),
    ];
    for (body, pointers) in change {
        let refused = api.admin("PATCH /users/{id}", id).json(&body).expect(422).await?;
        assert_eq!(refused.pointers(), pointers, "{body}");
    }
    let malformed = ["", "{", "{\"email\": \"a@example.com\"} x", "{\"email\": \"\\ud800@example.com\"}", "nul"];
    for body in malformed {
        api.admin("POST /users", 0).body("application/json", body).expect(400).await?;
    }
    api.admin("POST /users", 0).body("application/json", vec![b'"', 0xff, b'"']).expect(400).await?;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        api.admin("POST /users", 0).body(content_type, "{}").expect(415).await?;
    }
    let large = json!({"email": "a@example.com", "display_name": "x".repeat(2 << 20)});
    api.admin("POST /users", 0).json(&large).expect(413).await?;
    api.admin("POST /users", 0).query(&[("dry_run", "1")]).json(&json!({})).expect(422).await?;

    assert_eq!(api.events(1).await?, ["user_created"]);
    assert_eq!(api.admin("GET /users", 0).expect(200).await?.header("x-total-count"), "2");
    Ok(())
}
