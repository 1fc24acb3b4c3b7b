//! Changes of an issued key, and the early end of a grace.

use std::time::Duration;

use anyhow::Result;
use paddock_tests::{database::Engine, eventually::eventually, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_the_key_and_keeps_its_secret(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, key) = api.key(user, json!({"label": "ci", "limits": {"requests_per_minute": 7}})).await?;
        let change = json!({
            "label": "nightly", "scopes": ["chat"], "models": ["smollm2"],
            "limits": {"max_concurrent": 2}, "priority": "batch", "expires_at": "2090-01-01T00:00:00Z"
        });
        let changed = api.admin().patch(format!("/credentials/{id}")).json(&change).expect(200).await?;
        assert_eq!((&changed.json["label"], &changed.json["scopes"]), (&json!("nightly"), &json!(["chat"])));
        assert_eq!(changed.json["models"], json!(["registry.ollama.ai/library/smollm2:*"]));
        let limits = &changed.json["limits"];
        assert_eq!((&limits["requests_per_minute"], &limits["max_concurrent"]), (&json!(7), &json!(2)));
        assert_eq!(changed.json["priority"], "batch");
        assert_eq!(changed.json["versions"][0]["ends_at"], "2090-01-01T00:00:00.000000Z");
        assert_eq!(api.by(&key).get("/me").expect(200).await?.json["scopes"], json!(["chat"]));

        let cleared = json!({"models": null, "limits": null, "expires_at": null});
        let cleared = api.admin().patch(format!("/credentials/{id}")).json(&cleared).expect(200).await?;
        for field in ["models", "expires_at"] {
            assert_eq!(cleared.json[field], Value::Null, "{field}");
        }
        assert_eq!(cleared.json["priority"], "batch", "an absent field stays");
        assert_eq!(cleared.json["limits"]["max_concurrent"], Value::Null);
        assert_eq!(cleared.json["versions"][0]["ends_at"], Value::Null);
        assert_eq!(api.events(2).await?, ["api_key_updated", "api_key_updated"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_expiry_ends_the_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (id, key) = api.key(1, json!({})).await?;
        let soon = paddock_store::clock::Clock::now(&paddock_store::clock::SystemClock) + Duration::from_secs(1);
        let change = json!({"expires_at": soon.to_string()});
        api.admin().patch(format!("/credentials/{id}")).json(&change).expect(200).await?;
        eventually("the key to expire", Duration::from_secs(20), async || api.by(&key).get("/me").expect(401).await)
            .await?;
        // No change revives a key.
        let later = json!({"expires_at": null});
        let refused = api.admin().patch(format!("/credentials/{id}")).json(&later).expect(409).await?;
        assert_eq!(refused.problem(), "expired");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_patch_names_its_field_and_changes_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, _) = api.key(user, json!({})).await?;
        for (change, pointer) in [
            (json!({"label": ""}), "/label"),
            (json!({"label": null}), "/label"),
            (json!({"scopes": ["audit:read"]}), "/scopes"),
            (json!({"scopes": null}), "/scopes"),
            (json!({"models": ["!x"]}), "/models"),
            (json!({"limits": {"max_concurrent": -1}}), "/limits/max_concurrent"),
            (json!({"priority": "urgent"}), "/priority"),
            (json!({"priority": null}), "/priority"),
            (json!({"expires_at": "2020-01-01T00:00:00Z"}), "/expires_at"),
            (json!({"user_id": 1}), "/user_id"),
        ] {
            let refused = api.admin().patch(format!("/credentials/{id}")).json(&change).expect(422).await?;
            assert_eq!(refused.pointers(), [pointer], "{change}");
        }
        assert_eq!(api.events(1).await?, ["api_key_issued"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_managed_or_revoked_key_cannot_be_changed(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let change = json!({"label": "other"});
        let (managed, _) = api.key(1, json!({})).await?;
        api.manage("credentials", managed).await?;
        let (revoked, _) = api.key(1, json!({})).await?;
        api.admin().post(format!("/credentials/{revoked}/revoke")).expect(204).await?;
        for (id, problem) in [(managed, "managed"), (revoked, "revoked")] {
            let refused = api.admin().patch(format!("/credentials/{id}")).json(&change).expect(409).await?;
            assert_eq!(refused.problem(), problem);
        }
        api.admin().patch("/credentials/100000").json(&change).expect(404).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::more_scopes(json!({"scopes": ["chat", "audit:read"], "expires_at": "2080-01-01T00:00:00Z"}))]
#[case::more_models(json!({"models": null}))]
#[case::no_end(json!({"expires_at": null}))]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_no_key_more_than_it_has(
    #[values(Engine::Postgres, Engine::Sqlite)] engine: Engine,
    #[case] change: Value,
) {
    story(async {
        let api = Api::start(engine).await?;
        let ends = json!("2080-01-01T00:00:00Z");
        let own = json!({"scopes": ["chat", "keys:write"], "models": ["smollm2"], "expires_at": ends});
        let (_, key) = api.key(1, own).await?;
        let (id, _) = api.key(1, json!({"scopes": ["chat"], "models": ["smollm2"], "expires_at": ends})).await?;
        let path = format!("/credentials/{id}");
        api.by(&key).patch(&path).json(&json!({"label": "fine"})).expect(200).await?;
        api.by(&key).patch(&path).json(&change).expect(403).await?;
        assert_eq!(api.events(2).await?, ["access_denied", "api_key_updated"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_grace_of_an_old_secret_can_be_ended_early(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, old) = api.key(user, json!({})).await?;
        let new = api.admin().post(format!("/credentials/{id}/rotate")).expect(200).await?.text("plaintext")?;
        api.by(&old).get("/me").expect(200).await?;
        end_grace(&api, id).await?;
        api.by(&old).get("/me").expect(401).await?;
        api.by(&new).get("/me").expect(200).await?;
        let shown = api.admin().get(format!("/credentials/{id}")).expect(200).await?;
        assert_eq!(
            (&shown.json["state"], shown.json["versions"].as_array().map(Vec::len)),
            (&json!("active"), Some(1))
        );
        // Nothing is left to end.
        end_grace(&api, id).await?;
        assert_eq!(api.events(2).await?, ["api_key_grace_ended", "api_key_rotated"]);
        Ok(())
    })
    .await;
}

async fn end_grace(api: &Api, id: i64) -> Result<()> {
    api.admin().post(format!("/credentials/{id}/end-grace")).expect(204).await?;
    Ok(())
}
