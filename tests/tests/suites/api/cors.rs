//! Pages of other origins: what a browser is told, and what of it a page may do with a session.

use anyhow::{Context as _, Result, ensure};
use http::HeaderMap;
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::database::{Database, Engine};
use reqwest::Method;
use serde_json::json;

use super::contract::Answer;
use super::{Api, PASSWORD, on_both_engines};

on_both_engines! {
    an_allowed_page_reads_every_answer_and_another_none,
    an_allowed_page_goes_on_with_a_session,
}

const APP: &str = "https://app.example.com";
const EVIL: &str = "https://evil.example";
/// What an SDK in a browser asks for.
const HEADERS: &str = "anthropic-beta,anthropic-version,authorization,content-type,x-api-key,x-stainless-os";

async fn with_a_page(engine: Engine) -> Result<Api> {
    let database = Box::pin(Database::new(engine)).await?;
    let configure = |config| Config { cors_allowed_origins: vec![APP.to_owned()], ..config };
    let mut api = Box::pin(Api::serve(database.url(), configure)).await?;
    api.database = Some(database);
    Ok(api)
}

/// Whether an answer is for this page to read.
fn is_for(headers: &HeaderMap, origin: &str) -> Result<bool> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ensure!(headers.get_all("vary").iter().any(|name| name == "Origin"), "caches are not told: {headers:?}");
    if !headers.keys().any(|name| name.as_str().starts_with("access-control-")) {
        return Ok(false);
    }
    ensure!(value("access-control-allow-origin") == origin, "{headers:?}");
    ensure!(value("access-control-allow-credentials") == "true", "{headers:?}");
    for name in ["X-Request-Id", "X-RateLimit-Remaining", "Retry-After", "X-Total-Count", "X-Next-Cursor"] {
        ensure!(value("access-control-expose-headers").split(", ").any(|exposed| exposed == name), "{headers:?}");
    }
    Ok(true)
}

fn for_the_page(answer: &Answer) -> Result<()> {
    ensure!(is_for(&answer.headers, APP)?, "{answer}");
    Ok(())
}

async fn an_allowed_page_reads_every_answer_and_another_none(engine: Engine) -> Result<()> {
    let api = with_a_page(engine).await?;
    let client = reqwest::Client::new();
    for path in ["/users", "/users/1", "/auth/refresh", "/v1/chat/completions", "/api/chat", "/openapi.json"] {
        let preflight = |origin: &str| {
            let request = client.request(Method::OPTIONS, format!("{}{path}", api.contract.url));
            let request = request.header("access-control-request-headers", HEADERS).header("origin", origin);
            request.header("access-control-request-method", "POST").send()
        };
        let asked = preflight(APP).await?;
        assert_eq!(asked.status(), 204, "{path}");
        let headers = asked.headers();
        ensure!(is_for(headers, APP)?, "{path}: {headers:?}");
        assert_eq!(headers["access-control-allow-headers"], HEADERS);
        assert_eq!(headers["access-control-allow-methods"], "GET, HEAD, POST, PATCH, DELETE");
        assert_eq!(headers["access-control-max-age"], "7200");
        ensure!(headers.contains_key("x-request-id") && headers["x-content-type-options"] == "nosniff");
        let refused = preflight(EVIL).await?;
        ensure!(!refused.status().is_success() && !is_for(refused.headers(), EVIL)?, "{path}: {refused:?}");
    }

    let user = api.user(json!({"roles": ["user"]})).await?;
    let (_, slow) = api.key(user, json!({"limits": {"requests_per_minute": 1}})).await?;
    for (status, operation, key) in [
        (200, "GET /users", api.admin.as_str()),
        (200, "GET /v1/models", &api.admin),
        (401, "GET /users", "wrong"),
        (401, "GET /v1/models", "wrong"),
        (404, "GET /users/{id}", &api.admin),
        (200, "GET /me", &slow),
        (429, "GET /me", &slow),
        (429, "GET /api/tags", &slow),
    ] {
        for_the_page(&api.by(key, operation, 999).header("origin", APP).expect(status).await?)?;
        for origin in [Some(EVIL), Some("null"), None] {
            let request = api.by(key, operation, 999);
            let request = match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            };
            let answer = request.any().await?;
            ensure!(!is_for(&answer.headers, EVIL)?, "{answer}");
        }
    }
    Ok(())
}

async fn an_allowed_page_goes_on_with_a_session(engine: Engine) -> Result<()> {
    let api = with_a_page(engine).await?;
    let credentials = json!({"username": ADMIN_EMAIL, "password": PASSWORD});
    let begun = api.anonymous("POST /auth/login", 0).header("origin", APP).json(&credentials).expect(200).await?;
    for_the_page(&begun)?;
    let cookie = |answer: &Answer| -> Result<String> {
        let (pair, attributes) = answer.header("set-cookie").split_once("; ").context("a cookie")?;
        ensure!(attributes.contains("SameSite=Strict"), "{attributes}");
        Ok(pair.to_owned())
    };
    let first = cookie(&begun)?;
    let refresh = |origin: &str, cookie: &str| {
        api.anonymous("POST /auth/refresh", 0).header("origin", origin).header("cookie", cookie)
    };
    let refused = refresh(EVIL, &first).expect(403).await?;
    ensure!(!is_for(&refused.headers, EVIL)?, "{refused}");
    let went_on = refresh(APP, &first).expect(200).await?;
    for_the_page(&went_on)?;
    refresh(APP, &cookie(&went_on)?).expect(200).await?;
    Ok(())
}
