//! Setting passwords: by an admin, by their owner, and never by a key.

use anyhow::{Result, ensure};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Api, PASSWORD, contract::Answer};

const FIRST: &str = "violet harbour tangle 93";
const SECOND: &str = "seven lanterns under snow";

impl Api {
    pub(super) async fn sign_in(&self, username: &str, password: &str) -> Result<Answer> {
        let credentials = json!({"username": username, "password": password});
        self.anonymous().post("/auth/login").json(&credentials).any().await
    }

    /// Creates a user with a password, and returns its id and address.
    pub(super) async fn user_with_password(&self, password: &str) -> Result<(i64, String)> {
        let id = self.user(json!({"roles": ["user"]})).await?;
        let email = self.admin().get(format!("/users/{id}")).expect(200).await?.text("email")?;
        let body = json!({"password": password});
        self.by(&self.session().await?).post(format!("/users/{id}/password")).json(&body).expect(204).await?;
        Ok((id, email))
    }
}

fn change(current: &str, new: &str) -> Value {
    json!({"current_password": current, "new_password": new})
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_must_know_the_password_to_change_it(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, email) = api.user_with_password(FIRST).await?;
        assert_eq!(api.events(1).await?, ["password_set"]);
        let session = api.sign_in(&email, FIRST).await?.text("access_token")?;
        let refused = api.by(&session).post("/me/password").json(&change("wrong", SECOND)).expect(422).await?;
        assert_eq!(refused.pointers(), ["/current_password"]);
        let locked = api.by(&session).post("/me/password").json(&change(FIRST, SECOND)).expect(429).await?;
        ensure!(locked.problem() == "login-locked" && !locked.header("retry-after").is_empty(), "{locked}");
        assert_eq!(api.events(2).await?, ["login_rate_limited", "login_failure"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_every_session_and_clears_the_cookie(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, email) = api.user_with_password(FIRST).await?;
        let [mine, other] = [api.sign_in(&email, FIRST).await?, api.sign_in(&email, FIRST).await?];
        let (mine, other) = (mine.text("access_token")?, other.text("access_token")?);
        let changed = api.by(&mine).post("/me/password").json(&change(FIRST, SECOND)).expect(204).await?;
        ensure!(changed.header("set-cookie").starts_with("paddock_refresh=; Path=/auth; Max-Age=0"), "{changed}");
        assert_eq!(api.events(1).await?, ["password_set"]);
        for ended in [&mine, &other] {
            api.by(ended).get("/me").expect(401).await?;
        }
        assert_eq!(api.sign_in(&email, FIRST).await?.status, 401);
        api.unlock().await?;
        assert_eq!(api.sign_in(&email, SECOND).await?.status, 200);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sets_the_password_of_a_user_and_ends_its_sessions(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (id, email) = api.user_with_password(FIRST).await?;
        let session = api.sign_in(&email, FIRST).await?.text("access_token")?;
        let admin = api.session().await?;
        let password = json!({"password": SECOND});
        api.by(&admin).post(format!("/users/{id}/password")).json(&password).expect(204).await?;
        api.by(&session).get("/me").expect(401).await?;
        assert_eq!(api.sign_in(&email, SECOND).await?.status, 200);
        api.by(&admin).post("/users/99999/password").json(&password).expect(404).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_cannot_use_the_admins_route_to_set_a_password(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (id, email) = api.user_with_password(FIRST).await?;
        let plain = api.sign_in(&email, FIRST).await?.text("access_token")?;
        api.by(&plain).post(format!("/users/{id}/password")).json(&json!({"password": SECOND})).expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_breaks_a_rule_is_refused_by_that_rule(#[case] engine: Engine) {
    story(async {
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
            ("passwordpassword", "common password"),
            (&email, "guess"),
            ("aaaaaaaaaaaaaaaaaaaa", "guess"),
        ];
        let before = api.events(1).await?;
        for (password, rule) in wrong {
            let request = api.by(&session).post(format!("/users/{id}/password")).json(&json!({"password": password}));
            let refused = request.expect(422).await?;
            ensure!(refused.pointers().iter().all(|pointer| *pointer == "/password"), "{refused}");
            ensure!(refused.text("detail")?.contains(rule), "{password:?}: {refused}");
            ensure!(password.is_empty() || !refused.body.contains(password), "{refused}");
            if password == email {
                // The address is not the address of the admin, so the admin may use it as a
                // password.
                continue;
            }
            let change = json!({"current_password": PASSWORD, "new_password": password});
            let refused = api.by(&session).post("/me/password").json(&change).expect(422).await?;
            ensure!(refused.pointers().iter().all(|pointer| *pointer == "/new_password"), "{refused}");
        }
        assert_eq!(api.events(1).await?, before, "nothing changed, and nothing was recorded");
        assert_eq!(api.sign_in(&email, FIRST).await?.status, 200);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_to_set_a_password_is_refused(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, _) = api.plain_user().await?;
        let (session, path) = (api.session().await?, format!("/users/{user}/password"));
        // A lone surrogate is not text.
        let surrogate = r#"{"password":"\ud800 harbour tangle 93"}"#;
        api.by(&session).post(&path).body("application/json", surrogate).expect(400).await?;
        let refused = api.by(&session).post(&path).json(&json!({"password": 1, "hash": "x"})).expect(422).await?;
        assert_eq!(refused.pointers(), ["/hash", "/password"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_the_same_in_every_unicode_normal_form(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (id, email) = api.user_with_password(FIRST).await?;
        let composed = json!({"password": "caf\u{e9} harbour tangle"});
        let session = api.session().await?;
        api.by(&session).post(format!("/users/{id}/password")).json(&composed).expect(204).await?;
        assert_eq!(api.sign_in(&email, "cafe\u{301} harbour tangle").await?.status, 200);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn no_key_sets_a_password(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (id, _) = api.plain_user().await?;
        for (operation, body) in [
            ("POST /users/{id}/password", json!({"password": FIRST})),
            ("POST /me/password", json!({"current_password": PASSWORD, "new_password": FIRST})),
        ] {
            let refused = api.admin().operation(operation, id).json(&body).expect(403).await?;
            assert_eq!(refused.problem(), "forbidden");
            assert_eq!(api.events(1).await?, ["access_denied"]);
            api.anonymous().operation(operation, id).json(&body).expect(401).await?;
        }
        assert_eq!(api.sign_in(ADMIN_EMAIL, PASSWORD).await?.status, 200);
        Ok(())
    })
    .await;
}
