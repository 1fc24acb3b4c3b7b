//! The served OpenAPI document and its pages, and what all operations have in common.

use anyhow::{Context as _, ensure};
use paddock_tests::{database::Engine, story::story};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{Api, MODEL};

#[tokio::test(flavor = "multi_thread")]
async fn the_served_document_is_the_generated_one() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        assert_eq!(api.contract.document, serde_json::to_value(paddock_api::openapi())?);
        api.anonymous().get("/openapi.json").expect(200).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docs_pages_load_nothing_from_other_hosts() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let url = &api.contract.url;
        let page = reqwest::get(format!("{url}/docs")).await?.error_for_status()?;
        let policy = page.headers()["content-security-policy"].to_str()?.to_owned();
        ensure!(policy.contains("script-src 'self'") && !policy.contains("http"), "{policy}");
        let text = page.text().await?;
        ensure!(!text.contains("http://") && !text.contains("https://") && !text.contains("//cdn"), "{text}");
        for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
            ensure!(text.contains(file), "{text}");
            let answer = reqwest::get(format!("{url}/docs/{file}")).await?.error_for_status()?;
            let content_type = answer.headers()["content-type"].to_str()?.to_owned();
            ensure!(content_type.starts_with("text/"), "{file}: {content_type}");
        }
        let initializer = reqwest::get(format!("{url}/docs/swagger-initializer.js")).await?.text().await?;
        ensure!(initializer.contains("/openapi.json"), "{initializer}");
        assert_eq!(reqwest::get(format!("{url}/docs/nothing.js")).await?.status(), 404);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_or_method_is_a_problem() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let client = Client::new();
        for (method, path, status, allow) in [
            (Method::GET, "/nothing", 404, None),
            (Method::GET, "/users/", 404, None),
            (Method::GET, "/USERS", 404, None),
            (Method::GET, "/metrics", 404, None),
            (Method::DELETE, "/users", 405, Some("GET,HEAD,POST")),
            (Method::OPTIONS, "/users", 405, Some("GET,HEAD,POST")),
            (Method::PUT, "/auth/login", 405, Some("POST")),
        ] {
            let answer = client.request(method.clone(), format!("{}{path}", api.contract.url)).send().await?;
            assert_eq!(answer.status(), status, "{method} {path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert_eq!(answer.headers()["x-frame-options"], "DENY");
            let allowed = answer.headers().get("allow").map(|value| value.to_str()).transpose()?;
            assert_eq!(allowed, allow, "{method} {path}");
            let problem: Value = answer.json().await?;
            assert_eq!(problem["status"], status);
            ensure!(problem["request_id"].is_string(), "{problem}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_has_one_spelling() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let client = Client::new();
        let found = api.admin().get("/users/1").expect(200).await?;
        ensure!(found.json["id"] == 1);
        for odd in ["users/one", "users/+1", "users/01", "users?limit=%2B5", "usage?user_id=%2B1", "audit?cursor=%2B9"]
        {
            let answer = client.get(format!("{}/{odd}", api.contract.url)).bearer_auth(&api.admin).send().await?;
            assert_eq!(answer.status(), 422, "{odd}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_probe_answers_head_requests() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let head = Client::new().head(format!("{}/healthz", api.contract.url)).send().await?;
        assert_eq!(head.status(), 200);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_formed_request_id_is_kept() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let healthz = || api.anonymous().get("/healthz");
        assert_eq!(healthz().header("x-request-id", "abc-1").expect(200).await?.header("x-request-id"), "abc-1");
        assert_eq!(healthz().header("x-trace-id", "trace.1").expect(200).await?.header("x-request-id"), "trace.1");
        let both = healthz().header("x-request-id", "bad id").header("x-trace-id", "trace-2");
        assert_eq!(both.expect(200).await?.header("x-request-id"), "trace-2");
        let made = healthz().header("x-request-id", "a\"b").expect(200).await?;
        let id: uuid::Uuid = made.header("x-request-id").parse()?;
        assert_eq!(id.get_version_num(), 7);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_needs_the_credential_that_the_document_says() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let paths = api.contract.document["paths"].as_object().context("paths")?;
        let mut open = Vec::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().context("operations")? {
                let name = format!("{} {path}", method.to_uppercase());
                if operation["security"].as_array().is_some_and(|all| !all.contains(&json!({}))) {
                    let url = format!("{}{}", api.contract.url, path.replace("{id}", "1").replace("{model}", MODEL));
                    let method: Method = method.to_uppercase().parse()?;
                    let answer = Client::new().request(method, url).send().await?;
                    assert_eq!(answer.status(), 401, "{name}");
                } else {
                    open.push(name);
                }
            }
        }
        open.sort();
        // Add an operation to this list only if anonymous callers may use it.
        assert_eq!(
            open,
            ["GET /", "GET /healthz", "GET /openapi.json", "GET /readyz", "POST /auth/login", "POST /auth/logout"]
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_documents_a_wrong_host_and_a_wrong_credential() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let paths = api.contract.document["paths"].as_object().context("paths")?;
        for (path, item) in paths {
            for (method, operation) in item.as_object().context("operations")? {
                let name = format!("{} {path}", method.to_uppercase());
                api.anonymous().operation(&name, 1).header("host", "a b").expect(400).await?;
                let refused = api.by("pdk_nonsense").operation(&name, 1).any().await?;
                let has_scheme = refused.headers.contains_key("www-authenticate");
                assert_eq!(refused.status == 401, has_scheme, "{name}: {refused}");
                let described = &operation["responses"]["401"];
                ensure!(described.is_null() || described["headers"]["WWW-Authenticate"].is_object(), "{name}");
            }
        }
        Ok(())
    })
    .await;
}
