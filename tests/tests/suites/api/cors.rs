//! CORS: which answers and sessions a page of another origin may use.

use anyhow::{Context as _, Result, ensure};
use http::HeaderMap;
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::{database::Engine, story::story};
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use super::{Api, PASSWORD, contract::Answer};

const APP: &str = "https://app.example.com";
const EVIL: &str = "https://evil.example";
/// The request headers of an SDK in a browser.
const HEADERS: &str = "anthropic-beta,anthropic-version,authorization,content-type,x-api-key,x-stainless-os";

async fn allowing_app(engine: Engine) -> Result<Api> {
    Api::start_with(engine, |config| Config { cors_allowed_origins: vec![APP.to_owned()], ..config }).await
}

/// Whether a page of this origin may read the answer.
fn is_readable(headers: &HeaderMap, origin: &str) -> Result<bool> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ensure!(headers.get_all("vary").iter().any(|name| name == "Origin"), "no Vary: Origin: {headers:?}");
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

fn assert_readable(answer: &Answer) -> Result<()> {
    ensure!(is_readable(&answer.headers, APP)?, "{answer}");
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_of_an_allowed_page_succeeds_and_of_another_fails(#[case] engine: Engine) {
    story(async {
        let api = allowing_app(engine).await?;
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
            ensure!(is_readable(headers, APP)?, "{path}: {headers:?}");
            assert_eq!(headers["access-control-allow-headers"], HEADERS);
            assert_eq!(headers["access-control-allow-methods"], "GET, HEAD, POST, PATCH, DELETE");
            assert_eq!(headers["access-control-max-age"], "7200");
            ensure!(headers.contains_key("x-request-id") && headers["x-content-type-options"] == "nosniff");
            let refused = preflight(EVIL).await?;
            ensure!(!refused.status().is_success() && !is_readable(refused.headers(), EVIL)?, "{path}: {refused:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_page_reads_every_answer_and_another_none(#[case] engine: Engine) {
    story(async {
        let api = allowing_app(engine).await?;
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
            assert_readable(&api.by(key).operation(operation, 999).header("origin", APP).expect(status).await?)?;
            for origin in [Some(EVIL), Some("null"), None] {
                let request = api.by(key).operation(operation, 999);
                let request = match origin {
                    Some(origin) => request.header("origin", origin),
                    None => request,
                };
                let answer = request.any().await?;
                ensure!(!is_readable(&answer.headers, EVIL)?, "{answer}");
            }
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_page_refreshes_its_session(#[case] engine: Engine) {
    story(async {
        let api = allowing_app(engine).await?;
        let credentials = json!({"username": ADMIN_EMAIL, "password": PASSWORD});
        let login = api.anonymous().post("/auth/login").header("origin", APP).json(&credentials).expect(200).await?;
        assert_readable(&login)?;
        let cookie = |answer: &Answer| -> Result<String> {
            let (pair, attributes) = answer.header("set-cookie").split_once("; ").context("a cookie")?;
            ensure!(attributes.contains("SameSite=Strict"), "{attributes}");
            Ok(pair.to_owned())
        };
        let first = cookie(&login)?;
        let refresh = |origin: &str, cookie: &str| {
            api.anonymous().post("/auth/refresh").header("origin", origin).header("cookie", cookie)
        };
        let refused = refresh(EVIL, &first).expect(403).await?;
        ensure!(!is_readable(&refused.headers, EVIL)?, "{refused}");
        let refreshed = refresh(APP, &first).expect(200).await?;
        assert_readable(&refreshed)?;
        refresh(APP, &cookie(&refreshed)?).expect(200).await?;
        Ok(())
    })
    .await;
}
