//! Users: creation, changes and deletion.

use anyhow::{Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

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

/// A user, and patches of it.
struct Patched {
    api: Api,
    id: i64,
}

impl Patched {
    async fn start(engine: Engine) -> Result<Self> {
        let api = Api::start(engine).await?;
        let id = api.user(json!({"display_name": "Ada", "roles": ["user"]})).await?;
        Ok(Self { api, id })
    }

    /// The user after this patch.
    async fn patch(&self, body: Value) -> Result<Value> {
        Ok(self.api.admin().patch(format!("/users/{}", self.id)).json(&body).expect(200).await?.json)
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_keeps_the_limits_that_it_does_not_name(#[case] engine: Engine) {
    story(async {
        let user = Patched::start(engine).await?;
        let limits = json!({"limits": {"requests_per_minute": 60, "max_concurrent": 4}});
        let limits = user.patch(limits).await?["limits"].clone();
        assert_eq!((&limits["requests_per_minute"], &limits["max_concurrent"]), (&json!(60), &json!(4)));
        let limits = json!({"limits": {"max_concurrent": null, "tokens_per_day": 0}});
        let limits = user.patch(limits).await?["limits"].clone();
        assert_eq!(
            (&limits["requests_per_minute"], &limits["max_concurrent"], &limits["tokens_per_day"]),
            (&json!(60), &json!(null), &json!(0))
        );
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_clears_a_field_with_null(#[case] engine: Engine) {
    story(async {
        let user = Patched::start(engine).await?;
        user.patch(json!({"limits": {"requests_per_minute": 60}, "models": ["smollm2"]})).await?;
        assert_eq!(user.patch(json!({"limits": null})).await?["limits"]["requests_per_minute"], json!(null));
        assert_eq!(user.patch(json!({"models": null})).await?["models"], json!(null));
        assert_eq!(user.patch(json!({"display_name": null})).await?["display_name"], json!(null));
        assert_eq!(user.patch(json!({"roles": null})).await?["roles"], json!([]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_replaces_the_models_by_their_canonical_names(#[case] engine: Engine) {
    story(async {
        let user = Patched::start(engine).await?;
        let models = user.patch(json!({"models": ["SmolLM2", "library/smollm2:*"]})).await?["models"].clone();
        assert_eq!(models, json!(["registry.ollama.ai/library/smollm2:*"]));
        assert_eq!(user.patch(json!({"models": []})).await?["models"], json!([]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_may_have_the_content_type_of_a_merge_patch(#[case] engine: Engine) {
    story(async {
        let Patched { api, id } = Patched::start(engine).await?;
        let patch =
            api.admin().patch(format!("/users/{id}")).body("application/merge-patch+json", r#"{"roles":["admin"]}"#);
        assert_eq!(patch.expect(200).await?.json["roles"], json!(["admin"]));
        Ok(())
    })
    .await;
}

/// The attributes of a user that is deleted.
fn ada() -> Value {
    json!({"email": "ada@example.com", "display_name": "Ada", "external_id": "hr-7", "roles": ["user"]})
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_not_found(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.admin().post("/users").json(&ada()).expect(201).await?.id("id")?;
        let deleted = api.admin().delete(format!("/users/{id}")).expect(204).await?;
        ensure!(deleted.body.is_empty());
        assert_eq!(api.events(1).await?, ["user_deleted"]);
        for operation in ["GET /users/{id}", "DELETE /users/{id}"] {
            api.admin().operation(operation, id).expect(404).await?;
        }
        api.admin().patch(format!("/users/{id}")).json(&json!({"display_name": "Eve"})).expect(404).await?;
        api.admin().post("/credentials").json(&json!({"user_id": id})).expect(404).await?;
        for q in ["ada", "hr-7"] {
            assert_eq!(api.admin().get("/users").query(&[("q", q)]).expect(200).await?.header("x-total-count"), "0");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_deleted_user_are_revoked_and_stay_in_the_list(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.admin().post("/users").json(&ada()).expect(201).await?.id("id")?;
        let (key_id, key) = api.key(id, json!({})).await?;
        api.admin().delete(format!("/users/{id}")).expect(204).await?;
        api.by(&key).get("/me").expect(401).await?;
        let keys = api.admin().get("/credentials").query(&[("user_id", id)]).expect(200).await?;
        assert_eq!((&keys.json[0]["id"], &keys.json[0]["revoked"]), (&json!(key_id), &json!(true)));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_deleted_user_is_free_and_its_id_is_not(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.admin().post("/users").json(&ada()).expect(201).await?.id("id")?;
        api.admin().delete(format!("/users/{id}")).expect(204).await?;
        let again = api.admin().post("/users").json(&ada()).expect(201).await?;
        ensure!(again.id("id")? > id, "the id is used again");
        assert_eq!(api.admin().get("/users").query(&[("q", "HR-7")]).expect(200).await?.header("x-total-count"), "1");
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
async fn concurrent_patches_of_different_fields_are_all_kept(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.user(json!({})).await?;
        let names =
            ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month", "max_concurrent"];
        for round in 1..=5 {
            // Limits of two rounds would contradict each other.
            let none = json!({"limits": null});
            api.admin().patch(format!("/users/{id}")).json(&none).expect(200).await?;
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
