//! How many requests a minute: by user, by key, by the default of the server.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use serde_json::json;

use super::contract::Answer;
use super::sessions::cookie;
use super::{Api, MODEL, on_both_engines};

on_both_engines! {
    a_user_has_one_limit_over_all_keys,
    a_key_has_its_own_limit_beside_its_owners,
    a_limit_of_zero_lets_nothing_through,
    the_default_holds_for_whoever_has_no_limit,
    who_holds_a_key_cannot_keep_its_owner_from_revoking_it,
    a_session_goes_on_within_its_users_limit,
}

/// What the headers tell: limit, remaining, and reset.
fn told(answer: &Answer) -> Result<(u64, u64, u64)> {
    let number = |name| answer.header(name).parse();
    Ok((number("x-ratelimit-limit")?, number("x-ratelimit-remaining")?, number("x-ratelimit-reset")?))
}

/// That it is refused for its limit of so many, and told when to come back.
fn limited(answer: &Answer, limit: u64) -> Result<()> {
    let (told, remaining, reset) = told(answer)?;
    let wait: u64 = answer.header("retry-after").parse()?;
    ensure!((told, remaining) == (limit, 0), "{answer}");
    ensure!((1..=60).contains(&wait) && reset <= 60, "{answer}");
    Ok(())
}

/// A new user with this limit.
async fn limited_user(api: &Api, limit: u64) -> Result<i64> {
    let user = api.user(json!({"roles": ["user"]})).await?;
    let limits = json!({"limits": {"requests_per_minute": limit}});
    api.admin("PATCH /users/{id}", user).json(&limits).expect(200).await?;
    Ok(user)
}

async fn a_user_has_one_limit_over_all_keys(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = limited_user(&api, 3).await?;
    let (_, one) = api.key(user, json!({})).await?;
    let (_, other) = api.key(user, json!({})).await?;
    // Answers of every kind count: done, forbidden, and of the gateway.
    assert_eq!(told(&api.by(&one, "GET /me", 0).expect(200).await?)?, (3, 2, 20));
    assert_eq!(told(&api.by(&other, "GET /users", 0).expect(403).await?)?.1, 1);
    assert_eq!(told(&api.by(&one, "GET /api/tags", 0).expect(200).await?)?.1, 0);

    let refused = api.by(&other, "GET /me", 0).expect(429).await?;
    assert_eq!(refused.problem(), "rate-limited");
    limited(&refused, 3)?;
    let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]});
    let native = api.by(&one, "POST /api/chat", 0).json(&chat).expect(429).await?;
    limited(&native, 3)?;
    ensure!(native.text("error")?.contains("3 requests a minute"), "{native}");
    let openai = api.by(&one, "POST /v1/chat/completions", 0).json(&chat).expect(429).await?;
    limited(&openai, 3)?;
    assert_eq!(openai.json["error"]["code"], "rate_limit_exceeded", "{openai}");
    assert_eq!(openai.json["error"]["type"], "rate_limit_error", "{openai}");

    // Of no concern to anyone else, nor to what needs no credential.
    api.admin("GET /me", 0).expect(200).await?;
    api.by(&one, "GET /readyz", 0).expect(200).await?;
    api.by(&one, "POST /auth/logout", 0).expect(200).await?;
    // A limit that is raised holds at once.
    let raised = json!({"limits": {"requests_per_minute": 600}});
    api.admin("PATCH /users/{id}", user).json(&raised).expect(200).await?;
    assert_eq!(told(&api.by(&one, "GET /me", 0).expect(200).await?)?.0, 600);
    Ok(())
}

async fn who_holds_a_key_cannot_keep_its_owner_from_revoking_it(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let session = api.session().await?;
    let (leaked, key) = api.key(1, json!({})).await?;
    let limits = json!({"limits": {"requests_per_minute": 3}});
    api.by(&session, "PATCH /users/{id}", 1).json(&limits).expect(200).await?;
    for status in [200, 200, 200, 429] {
        api.by(&key, "GET /me", 0).expect(status).await?;
    }
    api.by(&session, "POST /credentials/{id}/revoke", leaked).expect(204).await?;
    api.by(&key, "GET /me", 0).expect(401).await?;
    // Sessions are limited all the same.
    for status in [200, 200, 429] {
        api.by(&session, "GET /me", 0).expect(status).await?;
    }
    Ok(())
}

async fn a_key_has_its_own_limit_beside_its_owners(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = limited_user(&api, 4).await?;
    let (_, narrow) = api.key(user, json!({"limits": {"requests_per_minute": 1}})).await?;
    let (_, wide) = api.key(user, json!({"limits": {"requests_per_minute": 1000}})).await?;
    assert_eq!(told(&api.by(&narrow, "GET /me", 0).expect(200).await?)?, (1, 0, 60));
    for _ in 0..3 {
        limited(&api.by(&narrow, "GET /me", 0).expect(429).await?, 1)?;
    }
    // What the key was refused its owner has not lost.
    for remaining in [2, 1, 0] {
        let (limit, left, _) = told(&api.by(&wide, "GET /me", 0).expect(200).await?)?;
        assert_eq!((limit, left), (4, remaining));
    }
    limited(&api.by(&wide, "GET /me", 0).expect(429).await?, 4)
}

async fn a_limit_of_zero_lets_nothing_through(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let (_, none) = api.key(user, json!({"limits": {"requests_per_minute": 0}})).await?;
    let (_, some) = api.key(user, json!({})).await?;
    limited(&api.by(&none, "GET /me", 0).expect(429).await?, 0)?;
    api.by(&some, "GET /me", 0).expect(200).await?;
    api.admin("PATCH /users/{id}", user).json(&json!({"limits": {"requests_per_minute": 0}})).expect(200).await?;
    limited(&api.by(&some, "GET /me", 0).expect(429).await?, 0)
}

async fn the_default_holds_for_whoever_has_no_limit(engine: Engine) -> Result<()> {
    let database = Box::pin(Database::new(engine)).await?;
    let api = Api::serve(database.url(), |config| paddock_api::Config { requests_per_minute: 10, ..config });
    let api = Box::pin(api).await?;
    for remaining in (0..10).rev() {
        let (limit, left, _) = told(&api.admin("GET /me", 0).expect(200).await?)?;
        // One may have come back meanwhile.
        ensure!(limit == 10 && (remaining..=remaining + 1).contains(&left), "{limit}, {left} for {remaining}");
    }
    let mut refused = 0;
    for _ in 0..5 {
        refused += u32::from(api.admin("GET /me", 0).any().await?.status == 429);
    }
    ensure!(refused >= 4, "{refused}");
    Ok(())
}

async fn a_session_goes_on_within_its_users_limit(engine: Engine) -> Result<()> {
    const OWN: &str = "violet harbour tangle 93";
    let api = Api::start(engine).await?;
    let (user, email) = api.user_with_password(OWN).await?;
    let [mine, others] = [api.sign_in(&email, OWN).await?, api.sign_in(&email, OWN).await?];
    let go_on = |cookie: &str| api.anonymous("POST /auth/refresh", 0).header("cookie", cookie);
    let limit = async |limit: u64| {
        let limits = json!({"limits": {"requests_per_minute": limit}});
        api.admin("PATCH /users/{id}", user).json(&limits).expect(200).await
    };
    limit(3).await?;
    // Every session of the user, and every other request, takes from the one limit.
    let second = go_on(&cookie(&mine)?.0).expect(200).await?;
    assert_eq!(told(&second)?, (3, 2, 20));
    assert_eq!(told(&go_on(&cookie(&others)?.0).expect(200).await?)?.1, 1);
    assert_eq!(told(&api.by(&second.text("access_token")?, "GET /me", 0).expect(200).await?)?.1, 0);

    // Refused, it changes nothing and leaves the cookie as it was.
    let rows = "SELECT hash FROM refresh_tokens ORDER BY hash";
    let database = api.database.as_ref().context("a database")?;
    let before = (database.rows::<(String,)>(rows).await?, api.events(1).await?);
    for _ in 0..5 {
        let refused = go_on(&cookie(&second)?.0).expect(429).await?;
        assert_eq!(refused.problem(), "rate-limited");
        limited(&refused, 3)?;
        ensure!(refused.header("set-cookie").is_empty(), "{refused}");
    }
    assert_eq!((database.rows::<(String,)>(rows).await?, api.events(1).await?), before);
    // One that comes back ends its session all the same.
    go_on(&cookie(&others)?.0).expect(401).await?;
    assert_eq!(api.events(1).await?, ["session_reuse_detected"]);
    limit(0).await?;
    limited(&go_on(&cookie(&second)?.0).expect(429).await?, 0)?;
    limit(600).await?;
    go_on(&cookie(&second)?.0).expect(200).await?;
    Ok(())
}
