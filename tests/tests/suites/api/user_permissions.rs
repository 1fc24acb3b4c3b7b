//! The last admin, and the roles that users need to read and manage users.

use anyhow::{Result, ensure};
use paddock_tests::{database::Engine, paddock::SCOPES, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

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
