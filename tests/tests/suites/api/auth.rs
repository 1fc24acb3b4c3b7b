//! Signing in and out, and the credentials of a request.

use anyhow::ensure;
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::json;

use super::{Api, PASSWORD};

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_a_password(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let credentials = json!({"username": "ADMIN@example.com", "password": PASSWORD});
        let login = api.anonymous().post("/auth/login").json(&credentials).expect(200).await?;
        assert_eq!((&login.json["token_type"], &login.json["expires_in"]), (&json!("bearer"), &json!(900)));
        assert_eq!(login.header("cache-control"), "no-store");
        let token = login.text("access_token")?;
        let me = api.by(&token).get("/me").expect(200).await?;
        assert_eq!((&me.json["email"], &me.json["key"]), (&json!(ADMIN_EMAIL), &json!(null)));
        api.by(&token).get("/users").expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_one_session(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (token, other) = (api.session().await?, api.session().await?);
        api.by(&token).post("/auth/logout").expect(200).await?;
        api.by(&token).get("/me").expect(401).await?;
        api.by(&other).get("/me").expect(200).await?;
        assert_eq!(api.events(3).await?, ["logout", "login_success", "login_success"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_accepts_any_credential_and_ends_no_key(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let token = api.session().await?;
        for _ in 0..2 {
            api.by(&token).post("/auth/logout").expect(200).await?;
        }
        api.by("nonsense").post("/auth/logout").expect(200).await?;
        api.anonymous().post("/auth/logout").expect(200).await?;
        api.admin().post("/auth/logout").expect(200).await?;
        api.admin().get("/me").expect(200).await?;
        api.anonymous().post("/auth/logout").query(&[("everywhere", "1")]).expect(422).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_of_all_ends_every_session(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (one, another) = (api.session().await?, api.session().await?);
        api.by(&one).post("/auth/logout").query(&[("all", "true")]).expect(200).await?;
        for ended in [&one, &another] {
            api.by(ended).get("/me").expect(401).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_refused_sign_in_gets_the_same_answer(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        api.plain_user().await?;
        let without_password = json!({"email": "nopass@example.com"});
        api.admin().post("/users").json(&without_password).expect(201).await?;
        let mut details = Vec::new();
        for (username, password) in [
            (ADMIN_EMAIL, "wrong"),
            ("nobody@example.com", PASSWORD),
            ("nopass@example.com", PASSWORD),
            ("no address", PASSWORD),
            (ADMIN_EMAIL, ""),
            (ADMIN_EMAIL, &"x".repeat(600)),
            ("\u{0}", "\u{0}"),
        ] {
            api.unlock().await?;
            let credentials = json!({"username": username, "password": password});
            let refused = api.anonymous().post("/auth/login").json(&credentials).expect(401).await?;
            ensure!(!refused.body.contains("example.com"), "{refused}");
            details.push((refused.json["type"].clone(), refused.json["detail"].clone()));
        }
        details.dedup();
        assert_eq!(details.len(), 1, "{details:?}");
        assert_eq!(api.events(1).await?, ["login_failure"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_sign_in_is_refused_without_repeating_the_password(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let wrong = json!({"username": 1, "password": 271_828, "remember": true});
        let refused = api.anonymous().post("/auth/login").json(&wrong).expect(422).await?;
        assert_eq!(refused.pointers(), ["/password", "/remember", "/username"]);
        ensure!(!refused.body.contains("271828"), "{refused}");
        api.anonymous().post("/auth/login").body("application/json", "{").expect(400).await?;
        api.anonymous().post("/auth/login").body("application/x-www-form-urlencoded", "username=a").expect(415).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn two_different_credentials_conflict(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, other) = api.plain_user().await?;
        api.admin().get("/me").header("x-api-key", &api.admin).expect(200).await?;
        let refused = api.admin().get("/me").header("x-api-key", &other).expect(400).await?;
        assert_eq!(refused.problem(), "conflicting-credentials");
        api.admin().get("/me").header("authorization", &format!("Bearer {other}")).expect(400).await?;
        let session = api.session().await?;
        api.by(&session).get("/me").header("x-api-key", &session).expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_credential_gets_the_same_answer(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let mut tampered = api.session().await?;
        tampered.pop();
        let wrong = ["x", "pdk_x", &tampered, "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", &"A".repeat(8000)];
        let mut details = Vec::new();
        for text in wrong {
            let refused = api.by(text).get("/me").expect(401).await?;
            details.push((refused.json["type"].clone(), refused.json["detail"].clone()));
        }
        details.dedup();
        assert_eq!(details.len(), 1, "{details:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_header_of_another_scheme_is_answered_with_the_right_one(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for value in ["Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer ", &api.admin] {
            let refused = api.anonymous().get("/me").header("authorization", value).expect(401).await?;
            assert_eq!(refused.header("www-authenticate"), "Bearer");
            ensure!(refused.text("detail")?.contains("Authorization: Bearer"), "{value}: {refused}");
        }
        Ok(())
    })
    .await;
}
