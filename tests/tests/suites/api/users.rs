//! Users: creation, changes, deletion, lists, and who may manage them.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Api, authorization::SCOPES};

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_created_user_has_the_requested_attributes(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = json!({"email": "Ada@Example.COM", "display_name": "Ada", "roles": ["user"]});
        let created = api.admin().post("/users").json(&ada).expect(201).await?;
        assert_eq!(created.json["email"], "ada@example.com");
        assert_eq!(created.json["is_active"], true);
        assert_eq!(created.json["managed_by"], json!(null));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_belongs_to_one_user(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = json!({"email": "ada@example.com"});
        api.admin().post("/users").json(&ada).expect(201).await?;
        let again = api.admin().post("/users").json(&ada).expect(409).await?;
        assert_eq!(again.problem(), "user-exists");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_patch_changes_and_records_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.user(json!({"display_name": "Ada", "roles": ["user"]})).await?;
        let change = json!({"display_name": "Ada Lovelace", "is_active": false});
        let changed = api.admin().patch(format!("/users/{id}")).json(&change).expect(200).await?;
        assert_eq!(changed.json["display_name"], "Ada Lovelace");
        let shown = api.admin().get(format!("/users/{id}")).expect(200).await?;
        assert_eq!(shown.json, changed.json);
        let unchanged = api.admin().patch(format!("/users/{id}")).json(&change).expect(200).await?;
        assert_eq!(unchanged.json, changed.json);
        assert_eq!(api.events(2).await?, ["user_disabled", "user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_not_found(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        api.admin().get("/users/1000").expect(404).await?;
        for change in [json!({"display_name": "Ada"}), json!({"limits": {"max_concurrent": 1}})] {
            api.admin().patch("/users/1000").json(&change).expect(404).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn creation_is_idempotent_by_external_id(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = json!({"email": "ada@example.com", "external_id": "hr-7"});
        let first = api.admin().post("/users").json(&ada).expect(201).await?;
        let second = api.admin().post("/users").json(&ada).expect(200).await?;
        assert_eq!(first.json, second.json);
        let other = json!({"email": "eve@example.com", "external_id": "hr-7"});
        api.admin().post("/users").json(&other).expect(409).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_merges(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.user(json!({"display_name": "Ada", "roles": ["user"]})).await?;
        let patch = async |body| {
            Ok::<_, anyhow::Error>(api.admin().patch(format!("/users/{id}")).json(&body).expect(200).await?.json)
        };
        let limits =
            patch(json!({"limits": {"requests_per_minute": 60, "max_concurrent": 4}})).await?["limits"].clone();
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
        let merge_patch =
            api.admin().patch(format!("/users/{id}")).body("application/merge-patch+json", r#"{"roles":["admin"]}"#);
        assert_eq!(merge_patch.expect(200).await?.json["roles"], json!(["admin"]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_gone_and_its_address_is_free(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = json!({"email": "ada@example.com", "display_name": "Ada", "external_id": "hr-7", "roles": ["user"]});
        let id = api.admin().post("/users").json(&ada).expect(201).await?.id("id")?;
        let (key_id, key) = api.key(id, json!({})).await?;
        let deleted = api.admin().delete(format!("/users/{id}")).expect(204).await?;
        ensure!(deleted.body.is_empty());
        assert_eq!(api.events(1).await?, ["user_deleted"]);
        api.by(&key).get("/me").expect(401).await?;
        for operation in ["GET /users/{id}", "DELETE /users/{id}"] {
            api.admin().operation(operation, id).expect(404).await?;
        }
        api.admin().patch(format!("/users/{id}")).json(&json!({"display_name": "Eve"})).expect(404).await?;
        api.admin().post("/credentials").json(&json!({"user_id": id})).expect(404).await?;
        // Its keys stay in the list as history.
        let keys = api.admin().get("/credentials").query(&[("user_id", id)]).expect(200).await?;
        assert_eq!((&keys.json[0]["id"], &keys.json[0]["revoked"]), (&json!(key_id), &json!(true)));
        for q in ["ada", "hr-7"] {
            assert_eq!(api.admin().get("/users").query(&[("q", q)]).expect(200).await?.header("x-total-count"), "0");
        }
        let again = api.admin().post("/users").json(&ada).expect(201).await?;
        ensure!(again.id("id")? > id, "an id is never used again");
        assert_eq!(api.admin().get("/users").query(&[("q", "HR-7")]).expect(200).await?.header("x-total-count"), "1");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_cannot_be_deleted(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let me = api.admin().get("/me").expect(200).await?.id("id")?;
        let refused = api.admin().delete(format!("/users/{me}")).expect(409).await?;
        assert_eq!(refused.problem(), "last-admin");
        api.admin().get("/me").expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_managed_user_cannot_be_deleted(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = api.user(json!({"roles": ["user"]})).await?;
        api.manage("users", ada).await?;
        let refused = api.admin().delete(format!("/users/{ada}")).expect(409).await?;
        assert_eq!(refused.problem(), "managed");
        ensure!(refused.text("detail")?.contains("ApiUser team-a/ci"), "{refused}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_deletes_itself_while_another_admin_is_left(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let me = api.admin().get("/me").expect(200).await?.id("id")?;
        let second = api.user(json!({"roles": ["admin"]})).await?;
        let (_, key) = api.key(second, json!({"scopes": SCOPES})).await?;
        api.admin().delete(format!("/users/{me}")).expect(204).await?;
        api.admin().get("/me").expect(401).await?;
        api.by(&key).get(format!("/users/{me}")).expect(404).await?;
        let refused = api.by(&key).delete(format!("/users/{second}")).expect(409).await?;
        assert_eq!(refused.problem(), "last-admin");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_of_different_fields_are_all_kept(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.user(json!({})).await?;
        let names =
            ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month", "max_concurrent"];
        for round in 1..=5 {
            let patches = names.map(async |name| {
                let patch = json!({"limits": {name: round}});
                api.admin().patch(format!("/users/{id}")).json(&patch).expect(200).await
            });
            futures_util::future::try_join_all(patches).await?;
            let limits = api.admin().get(format!("/users/{id}")).expect(200).await?.json["limits"].clone();
            for name in names {
                assert_eq!(limits[name], json!(round), "{name} in {limits}");
            }
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creations_with_one_external_id_create_one_user(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = json!({"email": "ada@example.com", "external_id": "hr-7"});
        let created = (0..20).map(|_| async {
            match api.admin().post("/users").json(&ada).expect(201).await {
                Ok(created) => created.id("id").map(|id| (201, id)),
                Err(_) => api.admin().post("/users").json(&ada).expect(200).await?.id("id").map(|id| (200, id)),
            }
        });
        let created = futures_util::future::try_join_all(created).await?;
        assert_eq!(created.iter().filter(|(status, _)| *status == 201).count(), 1, "{created:?}");
        ensure!(created.iter().all(|(_, id)| *id == created[0].1), "{created:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_cannot_be_demoted_disabled_or_silenced(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.admin().get("/me").expect(200).await?.id("id")?;
        // An admin with a limit of zero could not even raise it again.
        for change in [json!({"is_active": false}), json!({"roles": ["user"]}), json!({"roles": []}), silenced()] {
            let refused = api.admin().patch(format!("/users/{admin}")).json(&change).expect(409).await?;
            assert_eq!(refused.problem(), "last-admin");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_with_a_limit_of_zero_does_not_count_as_another_admin(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.admin().get("/me").expect(200).await?.id("id")?;
        let other = api.user(json!({"roles": ["admin"]})).await?;
        let (_, key) = api.key(other, json!({"scopes": SCOPES})).await?;
        api.admin().patch(format!("/users/{other}")).json(&silenced()).expect(200).await?;
        let refused = api.admin().patch(format!("/users/{admin}")).json(&silenced()).expect(409).await?;
        assert_eq!(refused.problem(), "last-admin");
        api.admin().patch(format!("/users/{other}")).json(&json!({"limits": null})).expect(200).await?;
        api.by(&key).patch(format!("/users/{admin}")).json(&json!({"is_active": false})).expect(200).await?;
        api.admin().get("/me").expect(401).await?;
        Ok(())
    })
    .await;
}

/// A change after which a user may send no request.
fn silenced() -> Value {
    json!({"limits": {"requests_per_minute": 0}})
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_every_scope_manages_no_admin(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, narrow) = api.key(admin, json!({"scopes": SCOPES[1..]})).await?;
        let before = api.admin().get("/users").expect(200).await?.json;
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
            let refused = api.by(&narrow).operation(operation, id).json(&body).expect(403).await?;
            ensure!(refused.text("detail")?.contains(SCOPES[0]), "the missing scope is not named: {body}: {refused}");
        }
        api.by(&narrow).delete("/users/1").expect(403).await?;
        assert_eq!(api.admin().get("/users").expect(200).await?.json, before);
        // The first refusal of each route is recorded; the others are counted.
        assert_eq!(api.events(3).await?, ["access_denied"; 3]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_every_scope_manages_plain_users(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, narrow) = api.key(admin, json!({"scopes": SCOPES[1..]})).await?;
        let patch = json!({"display_name": "Ada", "roles": ["user"], "limits": {"requests_per_minute": 5}});
        api.by(&narrow).patch(format!("/users/{user}")).json(&patch).expect(200).await?;
        let bob = json!({"email": "bob@example.com", "roles": ["user"]});
        let bob = api.by(&narrow).post("/users").json(&bob).expect(201).await?.id("id")?;
        api.by(&narrow).delete(format!("/users/{bob}")).expect(204).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_every_scope_and_a_session_manage_admins(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let (_, wide) = api.key(admin, json!({"scopes": SCOPES})).await?;
        let eve = json!({"email": "eve@example.com", "roles": ["user", "admin"]});
        for credential in [wide, api.session().await?] {
            let eve = api.by(&credential).post("/users").json(&eve).expect(201).await?.id("id")?;
            for roles in [json!([]), json!(["admin"])] {
                let patch = json!({"roles": roles});
                api.by(&credential).patch(format!("/users/{eve}")).json(&patch).expect(200).await?;
            }
            api.by(&credential).delete(format!("/users/{eve}")).expect(204).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_paged(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for name in ["Gwen", "Bo", "100%", "Cy"] {
            api.user(json!({"display_name": name})).await?;
        }
        let page = async |limit: &str, offset: &str| {
            let query = [("limit", limit), ("offset", offset)];
            let answer = api.admin().get("/users").query(&query).expect(200).await?;
            assert_eq!(answer.header("x-total-count"), "5");
            let users = answer.json.as_array().context("a list")?;
            Ok::<_, anyhow::Error>(users.iter().filter_map(|user| user["id"].as_i64()).collect::<Vec<_>>())
        };
        let all = page("200", "0").await?;
        ensure!(all.is_sorted() && all.len() == 5, "{all:?}");
        assert_eq!([page("2", "0").await?, page("2", "2").await?, page("2", "4").await?].concat(), all);
        assert_eq!(page("1", "5").await?, Vec::<i64>::new());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_searched(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for name in ["Gwen", "Bo", "100%", "Cy"] {
            api.user(json!({"display_name": name})).await?;
        }
        for (q, found) in [("gWEN", "1"), ("%", "1"), ("_", "0"), ("example.com", "5"), ("\\", "0")] {
            let answer = api.admin().get("/users").query(&[("q", q)]).expect(200).await?;
            assert_eq!(answer.header("x-total-count"), found, "{q}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_rejects_wrong_parameters(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
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
            // %00 must not be escaped again.
            let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name, value.replace("%00", "\0"))).collect();
            let refused = api.admin().get("/users").query(&pairs).expect(422).await?;
            assert_eq!(refused.pointers(), [pointer], "{query}");
        }
        Ok(())
    })
    .await;
}

/// A user, another one without a role, and three keys: one that may read users, one that may not,
/// one without a role.
struct Keys {
    user: i64,
    other: i64,
    reading: String,
    chatting: String,
    no_role: String,
}

impl Keys {
    async fn issue(api: &Api) -> Result<Self> {
        let user = api.user(json!({"roles": ["user"]})).await?;
        let other = api.user(json!({})).await?;
        let (_, reading) = api.key(user, json!({"scopes": ["users:read", "keys:read"]})).await?;
        let (_, chatting) = api.key(user, json!({"scopes": ["chat"]})).await?;
        let (_, no_role) = api.key(other, json!({})).await?;
        Ok(Self { user, other, reading, chatting, no_role })
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_itself_with_the_scope_for_it(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let keys = Keys::issue(&api).await?;
        api.by(&keys.reading).get(format!("/users/{}", keys.user)).expect(200).await?;
        api.by(&keys.chatting).get(format!("/users/{}", keys.user)).expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_like_a_missing_one(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let keys = Keys::issue(&api).await?;
        let there = api.by(&keys.reading).get(format!("/users/{}", keys.other)).expect(403).await?;
        let missing = api.by(&keys.reading).get(format!("/users/{}", keys.other + 1000)).expect(403).await?;
        assert_eq!(there.json["detail"], missing.json["detail"]);
        assert_eq!(api.events(1).await?, ["access_denied"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn only_admins_manage_users(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let keys = Keys::issue(&api).await?;
        let path = format!("/users/{}", keys.user);
        for key in [&keys.reading, &keys.chatting, &keys.no_role] {
            api.by(key).get("/users").expect(403).await?;
            // The right is checked before the body.
            api.by(key).post("/users").json(&json!({"nonsense": 1})).expect(403).await?;
            api.by(key).patch(&path).json(&json!({"roles": ["admin"]})).expect(403).await?;
            api.by(key).delete(&path).expect(403).await?;
            api.by(key).get("/me").expect(200).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_credential_is_answered_with_the_scheme(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for operation in
            ["GET /users", "POST /users", "GET /users/{id}", "PATCH /users/{id}", "DELETE /users/{id}", "GET /me"]
        {
            let refused = api.anonymous().operation(operation, 1).expect(401).await?;
            assert_eq!(refused.header("www-authenticate"), "Bearer");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_creation_names_the_fields_and_creates_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
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
            let refused = api.admin().post("/users").json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), pointers, "{body}");
        }
        assert_eq!(api.admin().get("/users").expect(200).await?.header("x-total-count"), "1");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_patch_names_the_fields_and_changes_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.user(json!({})).await?;
        let long = "x".repeat(201);
        let change = [
            (json!({"is_active": null}), vec!["/is_active"]),
            (json!({"limits": {"requests_per_minute": -1}}), vec!["/limits/requests_per_minute"]),
            (
                json!({"limits": {"requests": 1, "tokens_per_day": 1.5}}),
                vec!["/limits/requests", "/limits/tokens_per_day"],
            ),
            (json!({"models": ["a b", "llama3.2", ""]}), vec!["/models/0", "/models/2"]),
            (json!({"limits": [7, 8]}), vec!["/limits"]),
            (json!({"display_name": "a\u{0}b"}), vec!["/display_name"]),
            (json!({"display_name": "a\u{2066}b"}), vec!["/display_name"]),
            (json!({"display_name": long}), vec!["/display_name"]),
            (json!({"email": "other@example.com"}), vec!["/email"]),
        ];
        for (body, pointers) in change {
            let refused = api.admin().patch(format!("/users/{id}")).json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), pointers, "{body}");
        }
        assert_eq!(api.events(1).await?, ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_or_too_large_body_creates_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let malformed = ["", "{", "{\"email\": \"a@example.com\"} x", "{\"email\": \"\\ud800@example.com\"}", "nul"];
        for body in malformed {
            api.admin().post("/users").body("application/json", body).expect(400).await?;
        }
        api.admin().post("/users").body("application/json", vec![b'"', 0xff, b'"']).expect(400).await?;
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            api.admin().post("/users").body(content_type, "{}").expect(415).await?;
        }
        let large = json!({"email": "a@example.com", "display_name": "x".repeat(2 << 20)});
        api.admin().post("/users").json(&large).expect(413).await?;
        api.admin().post("/users").query(&[("dry_run", "1")]).json(&json!({})).expect(422).await?;
        assert_eq!(api.admin().get("/users").expect(200).await?.header("x-total-count"), "1");
        Ok(())
    })
    .await;
}
