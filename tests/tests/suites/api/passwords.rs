//! Setting passwords: by an admin, by oneself, and by nobody's key.

use anyhow::{Result, ensure};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::database::Engine;
use serde_json::json;

use super::contract::Answer;
use super::{Api, PASSWORD, on_both_engines};

on_both_engines! {
    an_admin_sets_a_password_and_its_owner_changes_it,
    a_password_that_breaks_a_rule_is_refused_by_that_rule,
    no_key_sets_a_password,
}

const FIRST: &str = "violet harbour tangle 93";
const SECOND: &str = "seven lanterns under snow";

impl Api {
    pub(super) async fn sign_in(&self, username: &str, password: &str) -> Result<Answer> {
        let credentials = json!({"username": username, "password": password});
        self.anonymous("POST /auth/login", 0).json(&credentials).any().await
    }

    /// A new user with a password, and its address.
    pub(super) async fn user_with_password(&self, password: &str) -> Result<(i64, String)> {
        let id = self.user(json!({"roles": ["user"]})).await?;
        let email = self.admin("GET /users/{id}", id).expect(200).await?.text("email")?;
        let body = json!({"password": password});
        self.by(&self.session().await?, "POST /users/{id}/password", id).json(&body).expect(204).await?;
        Ok((id, email))
    }
}

async fn an_admin_sets_a_password_and_its_owner_changes_it(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (id, email) = api.user_with_password(FIRST).await?;
    assert_eq!(api.events(1).await?, ["password_set"]);
    let login = api.sign_in(&email, FIRST).await?;
    let (mine, other) = (login.text("access_token")?, api.sign_in(&email, FIRST).await?.text("access_token")?);

    // Its owner must know it.
    let change = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let refused = api.by(&mine, "POST /me/password", 0).json(&change("wrong", SECOND)).expect(422).await?;
    assert_eq!(refused.pointers(), ["/current_password"]);
    let locked = api.by(&mine, "POST /me/password", 0).json(&change(FIRST, SECOND)).expect(429).await?;
    ensure!(locked.problem() == "login-locked" && !locked.header("retry-after").is_empty(), "{locked}");
    assert_eq!(api.events(2).await?, ["login_rate_limited", "login_failure"]);
    api.unlock().await?;

    let changed = api.by(&mine, "POST /me/password", 0).json(&change(FIRST, SECOND)).expect(204).await?;
    ensure!(changed.header("set-cookie").starts_with("paddock_refresh=; Path=/auth; Max-Age=0"), "{changed}");
    assert_eq!(api.events(1).await?, ["password_set"]);
    for ended in [&mine, &other] {
        api.by(ended, "GET /me", 0).expect(401).await?;
    }
    assert_eq!(api.sign_in(&email, FIRST).await?.status, 401);
    api.unlock().await?;
    let present = api.sign_in(&email, SECOND).await?.text("access_token")?;

    // An admin need not know it.
    let admin = api.session().await?;
    api.by(&admin, "POST /users/{id}/password", id).json(&json!({"password": FIRST})).expect(204).await?;
    api.by(&present, "GET /me", 0).expect(401).await?;
    assert_eq!(api.sign_in(&email, FIRST).await?.status, 200);
    api.by(&admin, "POST /users/{id}/password", 99_999).json(&json!({"password": FIRST})).expect(404).await?;
    let plain = api.sign_in(&email, FIRST).await?.text("access_token")?;
    api.by(&plain, "POST /users/{id}/password", id).json(&json!({"password": SECOND})).expect(403).await?;
    Ok(())
}

async fn a_password_that_breaks_a_rule_is_refused_by_that_rule(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (id, email) = api.user_with_password(FIRST).await?;
    let session = api.session().await?;
    let long = "violet harbour tangle ".repeat(24);
    let wrong = [
        ("short 1 2 3", "at least 15"),
        ("", "at least 15"),
        (&long, "512 bytes"),
        ("violet harbour\u{0}tangle", "U+0000"),
        ("violet harbour\u{9b}tangle", "U+009B"),
        ("passwordpassword", "everybody"),
        (&email, "guess"),
        ("aaaaaaaaaaaaaaaaaaaa", "guess"),
    ];
    let before = api.events(1).await?;
    for (password, rule) in wrong {
        let request = api.by(&session, "POST /users/{id}/password", id).json(&json!({"password": password}));
        let refused = request.expect(422).await?;
        ensure!(refused.pointers().iter().all(|pointer| *pointer == "/password"), "{refused}");
        ensure!(refused.text("detail")?.contains(rule), "{password:?}: {refused}");
        ensure!(password.is_empty() || !refused.body.contains(password), "{refused}");
        if password == email {
            // Nothing is known of it to the admin.
            continue;
        }
        let change = json!({"current_password": PASSWORD, "new_password": password});
        let refused = api.by(&session, "POST /me/password", 0).json(&change).expect(422).await?;
        ensure!(refused.pointers().iter().all(|pointer| *pointer == "/new_password"), "{refused}");
    }
    // Lone surrogates are no text.
    let request = api.by(&session, "POST /users/{id}/password", id);
    request.body("application/json", r#"{"password":"\ud800 harbour tangle 93"}"#).expect(400).await?;
    let request = api.by(&session, "POST /users/{id}/password", id).json(&json!({"password": 1, "hash": "x"}));
    assert_eq!(request.expect(422).await?.pointers(), ["/hash", "/password"]);
    assert_eq!(api.events(1).await?, before, "nothing changed, and nothing was recorded");
    assert_eq!(api.sign_in(&email, FIRST).await?.status, 200);

    // However it is typed, it is the same.
    let composed = json!({"password": "caf\u{e9} harbour tangle"});
    api.by(&session, "POST /users/{id}/password", id).json(&composed).expect(204).await?;
    assert_eq!(api.sign_in(&email, "cafe\u{301} harbour tangle").await?.status, 200);
    Ok(())
}

async fn no_key_sets_a_password(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (id, _) = api.plain_user().await?;
    for (operation, body) in [
        ("POST /users/{id}/password", json!({"password": FIRST})),
        ("POST /me/password", json!({"current_password": PASSWORD, "new_password": FIRST})),
    ] {
        let refused = api.admin(operation, id).json(&body).expect(403).await?;
        ensure!(refused.text("detail")?.contains("no API key"), "{refused}");
        assert_eq!(api.events(1).await?, ["access_denied"]);
        api.anonymous(operation, id).json(&body).expect(401).await?;
    }
    assert_eq!(api.sign_in(ADMIN_EMAIL, PASSWORD).await?.status, 200);
    Ok(())
}
