//! Requests per minute: the limits of a user and of a key, and the server's default.

use anyhow::{Result, ensure};
use paddock_api::Config;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::json;

use super::{
    Api, MODEL,
    contract::{Answer, Request},
    sessions::cookie,
};

/// The rate limit headers of an answer: limit, remaining, and reset.
fn limit_headers(answer: &Answer) -> Result<(u64, u64, u64)> {
    let number = |name| answer.header(name).parse();
    Ok((number("x-ratelimit-limit")?, number("x-ratelimit-remaining")?, number("x-ratelimit-reset")?))
}

/// Asserts that the answer is a refusal by this limit, with the time of the next try.
fn assert_limited(answer: &Answer, limit: u64) -> Result<()> {
    let (of, remaining, reset) = limit_headers(answer)?;
    let wait: u64 = answer.header("retry-after").parse()?;
    ensure!((of, remaining) == (limit, 0), "{answer}");
    ensure!((1..=60).contains(&wait) && reset <= 60, "{answer}");
    Ok(())
}

/// Sets the limit of a user.
async fn set_limit(api: &Api, user: i64, limit: u64) -> Result<()> {
    let limits = json!({"limits": {"requests_per_minute": limit}});
    api.admin().patch(format!("/users/{user}")).json(&limits).expect(200).await?;
    Ok(())
}

/// Creates a user with this limit.
async fn limited_user(api: &Api, limit: u64) -> Result<i64> {
    let user = api.user(json!({"roles": ["user"]})).await?;
    set_limit(api, user, limit).await?;
    Ok(user)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_one_limit_over_all_keys(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = limited_user(&api, 3).await?;
        let (_, one) = api.key(user, json!({})).await?;
        let (_, other) = api.key(user, json!({})).await?;
        // Successful, forbidden and gateway requests count alike.
        assert_eq!(limit_headers(&api.by(&one).get("/me").expect(200).await?)?, (3, 2, 20));
        assert_eq!(limit_headers(&api.by(&other).get("/users").expect(403).await?)?.1, 1);
        assert_eq!(limit_headers(&api.by(&one).get("/api/tags").expect(200).await?)?.1, 0);
        let refused = api.by(&other).get("/me").expect(429).await?;
        assert_eq!(refused.problem(), "rate-limited");
        assert_limited(&refused, 3)?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_refuses_a_limited_request_in_its_clients_dialect(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, key) = api.key(limited_user(&api, 1).await?, json!({})).await?;
        api.by(&key).get("/me").expect(200).await?;
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]});
        let native = api.by(&key).post("/api/chat").json(&chat).expect(429).await?;
        assert_limited(&native, 1)?;
        ensure!(native.json["error"].is_string(), "{native}");
        let openai = api.by(&key).post("/v1/chat/completions").json(&chat).expect(429).await?;
        assert_limited(&openai, 1)?;
        assert_eq!(openai.json["error"]["code"], "rate_limit_exceeded", "{openai}");
        assert_eq!(openai.json["error"]["type"], "rate_limit_error", "{openai}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_applies_neither_to_other_users_nor_to_public_routes(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, key) = api.key(limited_user(&api, 1).await?, json!({})).await?;
        api.by(&key).get("/me").expect(200).await?;
        api.by(&key).get("/me").expect(429).await?;
        api.admin().get("/me").expect(200).await?;
        api.by(&key).get("/readyz").expect(200).await?;
        api.by(&key).post("/auth/logout").expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_raised_limit_takes_effect_at_once(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = limited_user(&api, 1).await?;
        let (_, key) = api.key(user, json!({})).await?;
        api.by(&key).get("/me").expect(200).await?;
        api.by(&key).get("/me").expect(429).await?;
        set_limit(&api, user, 600).await?;
        assert_eq!(limit_headers(&api.by(&key).get("/me").expect(200).await?)?.0, 600);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_leaked_key_do_not_prevent_its_revocation(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let session = api.session().await?;
        let (leaked, key) = api.key(1, json!({})).await?;
        let limits = json!({"limits": {"requests_per_minute": 3}});
        api.by(&session).patch("/users/1").json(&limits).expect(200).await?;
        for status in [200, 200, 200, 429] {
            api.by(&key).get("/me").expect(status).await?;
        }
        api.by(&session).post(format!("/credentials/{leaked}/revoke")).expect(204).await?;
        api.by(&key).get("/me").expect(401).await?;
        // Other requests of the session are limited.
        for status in [200, 200, 429] {
            api.by(&session).get("/me").expect(status).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_own_limit_beside_its_owners(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = limited_user(&api, 4).await?;
        let (_, narrow) = api.key(user, json!({"limits": {"requests_per_minute": 1}})).await?;
        let (_, wide) = api.key(user, json!({"limits": {"requests_per_minute": 1000}})).await?;
        assert_eq!(limit_headers(&api.by(&narrow).get("/me").expect(200).await?)?, (1, 0, 60));
        for _ in 0..3 {
            assert_limited(&api.by(&narrow).get("/me").expect(429).await?, 1)?;
        }
        // Requests refused by the key's limit do not count for its owner.
        for remaining in [2, 1, 0] {
            let (limit, left, _) = limit_headers(&api.by(&wide).get("/me").expect(200).await?)?;
            assert_eq!((limit, left), (4, remaining));
        }
        assert_limited(&api.by(&wide).get("/me").expect(429).await?, 4)
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_zero_refuses_every_request(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, none) = api.key(user, json!({"limits": {"requests_per_minute": 0}})).await?;
        let (_, some) = api.key(user, json!({})).await?;
        assert_limited(&api.by(&none).get("/me").expect(429).await?, 0)?;
        api.by(&some).get("/me").expect(200).await?;
        api.admin()
            .patch(format!("/users/{user}"))
            .json(&json!({"limits": {"requests_per_minute": 0}}))
            .expect(200)
            .await?;
        assert_limited(&api.by(&some).get("/me").expect(429).await?, 0)
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_default_limit_applies_to_a_user_without_one(#[case] engine: Engine) {
    story(async {
        let api = Api::start_with(engine, |config| Config { requests_per_minute: 10, ..config }).await?;
        for remaining in (0..10).rev() {
            let (limit, left, _) = limit_headers(&api.admin().get("/me").expect(200).await?)?;
            // One request may have been refilled.
            ensure!(limit == 10 && (remaining..=remaining + 1).contains(&left), "{limit}, {left} for {remaining}");
        }
        let mut refused = 0;
        for _ in 0..5 {
            refused += u32::from(api.admin().get("/me").any().await?.status == 429);
        }
        ensure!(refused >= 4, "{refused}");
        Ok(())
    })
    .await;
}

const OWN_PASSWORD: &str = "violet harbour tangle 93";

/// Refreshes a session by its cookie.
fn refresh<'a>(api: &'a Api, cookie: &str) -> Request<'a> {
    api.anonymous().post("/auth/refresh").header("cookie", cookie)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn refreshes_and_other_requests_share_the_limit_of_their_user(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, email) = api.user_with_password(OWN_PASSWORD).await?;
        let [mine, other] = [api.sign_in(&email, OWN_PASSWORD).await?, api.sign_in(&email, OWN_PASSWORD).await?];
        set_limit(&api, user, 3).await?;
        let second = refresh(&api, &cookie(&mine)?.0).expect(200).await?;
        assert_eq!(limit_headers(&second)?, (3, 2, 20));
        assert_eq!(limit_headers(&refresh(&api, &cookie(&other)?.0).expect(200).await?)?.1, 1);
        assert_eq!(limit_headers(&api.by(&second.text("access_token")?).get("/me").expect(200).await?)?.1, 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_limited_refresh_changes_nothing_and_keeps_the_cookie(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, email) = api.user_with_password(OWN_PASSWORD).await?;
        let login = api.sign_in(&email, OWN_PASSWORD).await?;
        set_limit(&api, user, 1).await?;
        let second = refresh(&api, &cookie(&login)?.0).expect(200).await?;
        let rows = "SELECT hash FROM refresh_tokens ORDER BY hash";
        let before = (api.database()?.rows::<(String,)>(rows).await?, api.events(1).await?);
        for _ in 0..5 {
            let refused = refresh(&api, &cookie(&second)?.0).expect(429).await?;
            assert_eq!(refused.problem(), "rate-limited");
            assert_limited(&refused, 1)?;
            ensure!(refused.header("set-cookie").is_empty(), "{refused}");
        }
        assert_eq!((api.database()?.rows::<(String,)>(rows).await?, api.events(1).await?), before);
        set_limit(&api, user, 0).await?;
        assert_limited(&refresh(&api, &cookie(&second)?.0).expect(429).await?, 0)?;
        set_limit(&api, user, 600).await?;
        refresh(&api, &cookie(&second)?.0).expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reused_cookie_ends_its_session_beyond_the_limit(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, email) = api.user_with_password(OWN_PASSWORD).await?;
        let login = api.sign_in(&email, OWN_PASSWORD).await?;
        set_limit(&api, user, 2).await?;
        for _ in 0..2 {
            refresh(&api, &cookie(&login)?.0).expect(200).await?;
        }
        refresh(&api, &cookie(&login)?.0).expect(401).await?;
        assert_eq!(api.events(1).await?, ["session_reuse_detected"]);
        Ok(())
    })
    .await;
}
