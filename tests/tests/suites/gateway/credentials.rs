//! Credentials: a key is found beside values for other services, and as the password of Basic.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use paddock_tests::story::story;
use reqwest::{Client, RequestBuilder};

use super::{GatewayFixture, error_body::refused};

/// A token of another issuer.
const FOREIGN_TOKEN: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJvdGhlciJ9.c2ln";
const FOREIGN_KEY: &str = "sk-ant-api03-0123456789abcdef";
const AUTHORIZATION: &str = "Authorization";
const X_API_KEY: &str = "X-API-Key";

/// Values of `Authorization` that are no credential of Paddock.
const FOREIGN_AUTHORIZATIONS: [&str; 5] =
    ["Bearer ", "Bearer None", "Bearer sk-proj-0123456789abcdef", "Basic dTpw", FOREIGN_TOKEN];

/// Paths of the gateway and of the management API that any user may get.
const PATHS: [&str; 4] = ["/api/version", "/api/tags", "/v1/models", "/me"];

/// A GET with these headers alone.
fn get(gateway: &GatewayFixture, path: &str, headers: &[(&str, &str)]) -> RequestBuilder {
    let request = Client::new().get(format!("{}{path}", gateway.paddock.url()));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn assert_served(gateway: &GatewayFixture, headers: &[(&str, &str)]) -> Result<()> {
    for path in PATHS {
        let answer = get(gateway, path, headers).send().await?;
        let status = answer.status();
        ensure!(status == 200, "{path} with {headers:?}: {status} {}", answer.text().await?);
    }
    Ok(())
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn basic(key: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("any:{key}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authorization_beside_a_key_is_ignored() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let key = gateway.workload.key();
        for foreign in FOREIGN_AUTHORIZATIONS {
            assert_served(&gateway, &[(AUTHORIZATION, foreign), (X_API_KEY, key)]).await?;
            assert_served(&gateway, &[(AUTHORIZATION, foreign), (AUTHORIZATION, &bearer(key))]).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_api_key_beside_a_key_is_ignored() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let key = bearer(gateway.workload.key());
        for foreign in ["", "None", FOREIGN_KEY, FOREIGN_TOKEN] {
            assert_served(&gateway, &[(AUTHORIZATION, &key), (X_API_KEY, foreign)]).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_the_password_of_basic() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let basic = basic(gateway.workload.key());
        assert_served(&gateway, &[(AUTHORIZATION, &basic)]).await?;
        assert_served(&gateway, &[(AUTHORIZATION, &basic), (X_API_KEY, FOREIGN_KEY)]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_in_several_headers_is_one_credential() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let key = gateway.workload.key();
        assert_served(&gateway, &[(AUTHORIZATION, &bearer(key)), (X_API_KEY, key)]).await?;
        assert_served(&gateway, &[(AUTHORIZATION, &basic(key)), (X_API_KEY, key)]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_keys_are_refused_naming_both_headers() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let (one, other) = (gateway.workload.key(), gateway.admin.key());
        for headers in [
            [(AUTHORIZATION, bearer(one)), (X_API_KEY, other.to_owned())],
            [(AUTHORIZATION, basic(one)), (X_API_KEY, other.to_owned())],
            [(AUTHORIZATION, bearer(one)), (AUTHORIZATION, bearer(other))],
            [(X_API_KEY, one.to_owned()), (X_API_KEY, other.to_owned())],
        ] {
            let headers = [(headers[0].0, headers[0].1.as_str()), (headers[1].0, headers[1].1.as_str())];
            let error = refused(get(&gateway, "/v1/models", &headers), 400).await?;
            assert_eq!(error.code.as_deref(), Some("conflicting"));
            ensure!(error.message.contains(AUTHORIZATION) && error.message.contains(X_API_KEY), "{error:?}");
        }
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_value_alone_is_no_credential() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let foreign = FOREIGN_AUTHORIZATIONS.map(|value| (AUTHORIZATION, value));
        for header in foreign.into_iter().chain([(X_API_KEY, FOREIGN_KEY), (X_API_KEY, "")]) {
            refused(get(&gateway, "/v1/models", &[header]), 401).await.with_context(|| format!("{header:?}"))?;
        }
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}
