//! Delegation: which keys a key may issue and rotate, for whom, and with which bounds.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_store::clock::{Clock as _, SystemClock};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

/// Fields beyond the bounds of the narrow key, and the word that the refusal must name.
fn beyond(later: &str) -> [(&'static str, Value, &'static str); 12] {
    [
        ("scopes", json!(["chat", "embed"]), "embed"),
        ("models", json!(null), "models"),
        ("models", json!(["smollm2", "llama3.2"]), "llama3.2"),
        ("models", json!(["*"]), "models"),
        ("models", json!(["team/*"]), "team/*"),
        ("models", json!(["team/*:latest"]), "team/*"),
        ("models", json!(["team/h*:latest", "!team/hid"]), "team/h*"),
        ("limits", json!({"requests_per_minute": 61, "tokens_per_day": 1}), "limits.requests_per_minute"),
        ("limits", json!({"requests_per_minute": 1}), "limits.tokens_per_day"),
        ("limits", json!(null), "limits.requests_per_minute"),
        ("expires_at", json!(later), "expires_at"),
        ("expires_at", json!(null), "expires_at"),
    ]
}

/// A narrow key of an admin, and the fields of a key within its bounds.
struct Narrow {
    user: i64,
    own_id: i64,
    issuer: String,
    within: Value,
    later: String,
}

impl Narrow {
    async fn issue(api: &Api) -> Result<Self> {
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let now = SystemClock.now();
        let [soon, later] = [1, 2].map(|hours| (now + Duration::from_hours(hours)).to_string());
        let narrow = json!({
            "scopes": ["keys:write", "chat"], "models": ["smollm2", "team/*:latest", "!team/hidden"],
            "limits": {"requests_per_minute": 60, "tokens_per_day": 1000}, "expires_at": soon,
        });
        let (own_id, issuer) = api.key(admin, narrow).await?;
        let within = json!({
            "user_id": user, "scopes": ["chat"], "models": ["smollm2:135m", "team/a*:latest", "team/h*:latest", "!team/hid*"],
            "limits": {"requests_per_minute": 60, "tokens_per_day": 9, "max_concurrent": 9}, "expires_at": soon,
        });
        Ok(Self { user, own_id, issuer, within, later })
    }

    /// The fields within the bounds, but for one.
    fn but(&self, field: &str, value: Value) -> Value {
        let mut asked = self.within.clone();
        match value {
            // Null is no valid value of `scopes`, so that the field is left out.
            Value::Null => drop(asked.as_object_mut().and_then(|fields| fields.remove(field))),
            value => asked[field] = value,
        }
        asked
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_key_issues_no_wider_one(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let narrow = Narrow::issue(&api).await?;
        api.by(&narrow.issuer).post("/credentials").json(&narrow.within).expect(201).await?;
        for (field, value, named) in beyond(&narrow.later) {
            let asked = narrow.but(field, value);
            let refused = api.by(&narrow.issuer).post("/credentials").json(&asked).expect(403).await?;
            ensure!(refused.text("detail")?.contains(named), "{asked}: {refused}");
        }
        // The first refusal is recorded; the others are counted.
        let denied = api.events(100).await?.iter().filter(|event| *event == "access_denied").count();
        assert_eq!(denied, 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_key_rotates_no_wider_one(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let narrow = Narrow::issue(&api).await?;
        for (field, value, named) in beyond(&narrow.later) {
            let (wide, _) = api.key(narrow.user, narrow.but(field, value)).await?;
            let refused = api.by(&narrow.issuer).post(format!("/credentials/{wide}/rotate")).expect(403).await?;
            ensure!(refused.text("detail")?.contains(named), "{refused}");
        }
        let denied = api.events(100).await?.iter().filter(|event| *event == "access_denied").count();
        assert_eq!(denied, 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_every_exceeded_bound(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let narrow = Narrow::issue(&api).await?;
        let asked = json!({"user_id": narrow.user});
        let refused = api.by(&narrow.issuer).post("/credentials").json(&asked).expect(403).await?;
        for named in ["scopes", "models", "limits.requests_per_minute", "limits.tokens_per_day", "expires_at"] {
            ensure!(refused.text("detail")?.contains(named), "{refused}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotates_itself_and_keys_within_its_bounds(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let narrow = Narrow::issue(&api).await?;
        let (equal, _) = api.key(narrow.user, narrow.within).await?;
        for id in [equal, narrow.own_id] {
            api.by(&narrow.issuer).post(format!("/credentials/{id}/rotate")).expect(200).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_admin_issues_any_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let session = api.session().await?;
        for role in ["user", "admin"] {
            let owner = api.user(json!({"roles": [role]})).await?;
            api.by(&session).post("/credentials").json(&json!({"user_id": owner})).expect(201).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_user_issues_no_key_not_even_for_itself(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (plain, key) = api.plain_user().await?;
        api.by(&key).post("/credentials").json(&json!({"user_id": plain})).expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_issues_others_no_key_beyond_its_owners_bounds(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (own, issuer) =
            api.key(admin, json!({"scopes": ["keys:write", "chat"], "models": ["smollm2", "llama3.2"]})).await?;
        let narrow = json!({"models": ["smollm2", "team/*"], "limits": {"requests_per_minute": 60}});
        api.admin().patch(format!("/users/{admin}")).json(&narrow).expect(200).await?;
        let within = json!({
            "user_id": user, "scopes": ["chat"], "models": ["smollm2:135m"], "limits": {"requests_per_minute": 60},
        });
        let given = api.by(&issuer).post("/credentials").json(&within).expect(201).await?.id("credential_id")?;
        api.by(&issuer).post(format!("/credentials/{given}/rotate")).expect(200).await?;
        for (field, value, named) in [
            // The first is in the key's list only, the second in its owner's only.
            ("models", json!(["llama3.2"]), "llama3.2"),
            ("models", json!(["team/a"]), "team/a"),
            ("limits", json!({"requests_per_minute": 61}), "limits.requests_per_minute"),
            ("limits", json!({}), "limits.requests_per_minute"),
        ] {
            let mut asked = within.clone();
            asked[field] = value;
            let refused = api.by(&issuer).post("/credentials").json(&asked).expect(403).await?;
            ensure!(refused.text("detail")?.contains(named), "{asked}: {refused}");
            let (wide, _) = api.key(user, asked).await?;
            api.by(&issuer).post(format!("/credentials/{wide}/rotate")).expect(403).await?;
        }
        // The owner's bounds apply to the owner's keys anyway.
        let mine = json!({"user_id": admin, "scopes": ["chat"], "models": ["llama3.2"]});
        api.by(&issuer).post("/credentials").json(&mine).expect(201).await?;
        api.by(&issuer).post(format!("/credentials/{own}/rotate")).expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_retiring_secret_issues_no_key_that_outlives_it(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let (id, old) = api.key(admin, json!({"scopes": ["keys:write", "chat"]})).await?;
        let grace = json!({"grace_seconds": 3600});
        let new =
            api.admin().post(format!("/credentials/{id}/rotate")).json(&grace).expect(200).await?.text("plaintext")?;
        let now = SystemClock.now();
        let [soon, later] = [30, 90].map(|minutes| (now + Duration::from_mins(minutes)).to_string());
        let key = |end: Value| json!({"user_id": admin, "scopes": ["chat"], "expires_at": end});
        for end in [json!(null), json!(later)] {
            let refused = api.by(&old).post("/credentials").json(&key(end)).expect(403).await?;
            ensure!(refused.text("detail")?.contains("expires_at"), "{refused}");
        }
        let refused = api.by(&old).post(format!("/credentials/{id}/rotate")).expect(403).await?;
        assert_eq!(refused.problem(), "forbidden");
        // Within its own time the old secret may issue; the new one may do everything.
        api.by(&old).post("/credentials").json(&key(json!(soon))).expect(201).await?;
        api.by(&new).post("/credentials").json(&key(json!(null))).expect(201).await?;
        api.by(&new).post(format!("/credentials/{id}/rotate")).expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_gets_no_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, key) = api.plain_user().await?;
        api.admin().patch(format!("/users/{user}")).json(&json!({"is_active": false})).expect(200).await?;
        let refused = api.admin().post("/credentials").json(&json!({"user_id": user})).expect(409).await?;
        assert_eq!(refused.problem(), "user-disabled");
        api.admin().patch(format!("/users/{user}")).json(&json!({"is_active": true})).expect(200).await?;
        api.key(user, json!({})).await?;
        api.by(&key).get("/me").expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_issues_no_scope_that_it_lacks(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, issuer) = api.key(admin, json!({"scopes": ["keys:write", "chat"]})).await?;
        let issue =
            |scopes: Value| api.by(&issuer).post("/credentials").json(&json!({"user_id": user, "scopes": scopes}));
        issue(json!(["chat"])).expect(201).await?;
        let refused = issue(json!(["chat", "embed"])).expect(403).await?;
        ensure!(refused.text("detail")?.contains("embed"), "{refused}");
        api.by(&issuer).post("/credentials").json(&json!({"user_id": user})).expect(403).await?;
        assert_eq!(api.events(1).await?, ["access_denied"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_key_issues_and_makes_no_interactive_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let (_, issuer) = api.key(admin, json!({"scopes": ["keys:write", "chat"], "priority": "batch"})).await?;
        let batch = json!({"user_id": admin, "scopes": ["chat"], "priority": "batch"});
        let given = api.by(&issuer).post("/credentials").json(&batch).expect(201).await?.id("credential_id")?;
        // Without a priority, a key is interactive.
        let interactive = json!({"user_id": admin, "scopes": ["chat"]});
        let refused = api.by(&issuer).post("/credentials").json(&interactive).expect(403).await?;
        ensure!(refused.text("detail")?.contains("priority"), "{refused}");
        let change = json!({"priority": "interactive"});
        let path = format!("/credentials/{given}");
        let refused = api.by(&issuer).patch(&path).json(&change).expect(403).await?;
        ensure!(refused.text("detail")?.contains("priority"), "{refused}");
        let changed = api.admin().patch(&path).json(&change).expect(200).await?;
        assert_eq!(changed.json["priority"], "interactive");
        api.by(&issuer).post(format!("/credentials/{given}/rotate")).expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotates_no_key_with_more_scopes(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, issuer) = api.key(admin, json!({"scopes": ["keys:write", "chat"]})).await?;
        let (wide, _) = api.key(user, json!({"scopes": ["chat", "embed"]})).await?;
        api.by(&issuer).post(format!("/credentials/{wide}/rotate")).expect(403).await?;
        let (narrow, _) = api.key(user, json!({"scopes": ["chat"]})).await?;
        api.by(&issuer).post(format!("/credentials/{narrow}/rotate")).expect(200).await?;
        assert_eq!(api.events(3).await?, ["api_key_rotated", "api_key_issued", "access_denied"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_no_scope_beyond_its_owners_roles(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let asked = json!({"user_id": user, "scopes": ["users:write"]});
        let refused = api.admin().post("/credentials").json(&asked).expect(422).await?;
        assert_eq!(refused.pointers(), ["/scopes"]);
        Ok(())
    })
    .await;
}
