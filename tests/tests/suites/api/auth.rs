//! Signing in and out, and what a credential is.

use anyhow::{Result, ensure};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::database::Engine;
use serde_json::json;

use super::{Api, PASSWORD, on_both_engines};

on_both_engines! {
    a_session_begins_with_a_password_and_ends_with_a_logout,
    a_refused_sign_in_tells_nothing,
    a_request_has_one_credential,
}

async fn a_session_begins_with_a_password_and_ends_with_a_logout(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let credentials = json!({"username": "ADMIN@example.com", "password": PASSWORD});
    let login = api.anonymous("POST /auth/login", 0).json(&credentials).expect(200).await?;
    assert_eq!((&login.json["token_type"], &login.json["expires_in"]), (&json!("bearer"), &json!(900)));
    assert_eq!(login.header("cache-control"), "no-store");
    let token = login.text("access_token")?;
    let me = api.by(&token, "GET /me", 0).expect(200).await?;
    assert_eq!((&me.json["email"], &me.json["key"]), (&json!(ADMIN_EMAIL), &json!(null)));
    api.by(&token, "GET /users", 0).expect(200).await?;

    let other = api.session().await?;
    api.by(&token, "POST /auth/logout", 0).expect(200).await?;
    api.by(&token, "GET /me", 0).expect(401).await?;
    api.by(&other, "GET /me", 0).expect(200).await?;
    assert_eq!(api.events(3).await?, ["logout", "login_success", "login_success"]);

    // Whatever is presented, one is signed out afterwards; a key goes on.
    api.by(&token, "POST /auth/logout", 0).expect(200).await?;
    api.by("nonsense", "POST /auth/logout", 0).expect(200).await?;
    api.anonymous("POST /auth/logout", 0).expect(200).await?;
    api.admin("POST /auth/logout", 0).expect(200).await?;
    api.admin("GET /me", 0).expect(200).await?;
    api.anonymous("POST /auth/logout", 0).query(&[("everywhere", "1")]).expect(422).await?;

    // All at once.
    let (one, another) = (api.session().await?, api.session().await?);
    api.by(&one, "POST /auth/logout", 0).query(&[("all", "true")]).expect(200).await?;
    for ended in [&one, &another] {
        api.by(ended, "GET /me", 0).expect(401).await?;
    }
    Ok(())
}

async fn a_refused_sign_in_tells_nothing(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (_, _) = api.plain_user().await?;
    let without_password = json!({"email": "nopass@example.com"});
    api.admin("POST /users", 0).json(&without_password).expect(201).await?;
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
        let refused = api.anonymous("POST /auth/login", 0).json(&credentials).expect(401).await?;
        ensure!(!refused.body.contains("example.com"), "{refused}");
        details.push((refused.json["type"].clone(), refused.json["detail"].clone()));
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    assert_eq!(api.events(1).await?, ["login_failure"]);

    let wrong = json!({"username": 1, "password": 271_828, "remember": true});
    let refused = api.anonymous("POST /auth/login", 0).json(&wrong).expect(422).await?;
    assert_eq!(refused.pointers(), ["/password", "/remember", "/username"]);
    ensure!(!refused.body.contains("271828"), "{refused}");
    api.anonymous("POST /auth/login", 0).body("application/json", "{").expect(400).await?;
    api.anonymous("POST /auth/login", 0).body("application/x-www-form-urlencoded", "username=a").expect(415).await?;
    Ok(())
}

async fn a_request_has_one_credential(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (_, other) = api.plain_user().await?;
    api.admin("GET /me", 0).header("x-api-key", &api.admin).expect(200).await?;
    let refused = api.admin("GET /me", 0).header("x-api-key", &other).expect(400).await?;
    assert_eq!(refused.problem(), "conflicting-credentials");
    api.admin("GET /me", 0).header("authorization", &format!("Bearer {other}")).expect(400).await?;
    let session = api.session().await?;
    api.by(&session, "GET /me", 0).header("x-api-key", &session).expect(200).await?;

    let mut tampered = session.clone();
    tampered.pop();
    let nobody = ["x", "pdk_x", &tampered, "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", &"A".repeat(8000)];
    let mut details = Vec::new();
    for text in nobody {
        details.push(api.by(text, "GET /me", 0).expect(401).await?.json["detail"].clone());
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    // What is no bearer credential at all is told how one is sent.
    for value in ["Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer ", &api.admin] {
        let refused = api.anonymous("GET /me", 0).header("authorization", value).expect(401).await?;
        ensure!(refused.text("detail")?.contains("Authorization: Bearer"), "{value}: {refused}");
    }
    Ok(())
}
