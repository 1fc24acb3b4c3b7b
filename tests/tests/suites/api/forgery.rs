//! Forged access tokens, most of them signed with the server's own key: all are refused.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::{database::Engine, story::story};
use serde_json::{Value, json};

use super::{Api, PASSWORD, SECRET};

const OTHER_PASSWORD: &str = "violet harbour tangle 93";

/// The attack whose token is the server's own, after its end.
const ENDED: &str = "exp past";

/// A valid token, in parts.
struct Real {
    token: String,
    header: Value,
    claims: Value,
}

impl Real {
    fn of(token: String) -> Result<Self> {
        let part = |at: usize| -> Result<Value> {
            let text = token.split('.').nth(at).context("three parts")?;
            Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text)?)?)
        };
        Ok(Self { header: part(0)?, claims: part(1)?, token })
    }

    /// The token with other header fields, signed with the server's key. Null removes a field.
    fn header(&self, changes: &Value) -> String {
        signed(&changed(&self.header, changes), &self.claims.to_string())
    }

    /// The token with other claims, signed with the server's key. Null removes a claim.
    fn claims(&self, changes: &Value) -> String {
        signed(&self.header.to_string(), &changed(&self.claims, changes))
    }

    /// The token with text before its first claim.
    fn claims_with(&self, first: &str) -> String {
        signed(&self.header.to_string(), &self.claims.to_string().replacen('{', &format!("{{{first},"), 1))
    }

    /// The token with text before its first header field.
    fn header_with(&self, first: &str) -> String {
        signed(&self.header.to_string().replacen('{', &format!("{{{first},"), 1), &self.claims.to_string())
    }

    /// The token signed with another algorithm or key.
    fn signed_by(&self, header: &Value, algorithm: hmac::Algorithm, key: &[u8]) -> String {
        let message = message(&changed(&self.header, header), &self.claims.to_string());
        sign(&message, algorithm, key)
    }

    fn number(&self, claim: &str) -> i64 {
        self.claims[claim].as_i64().unwrap_or_default()
    }
}

fn changed(object: &Value, changes: &Value) -> String {
    let mut object = object.clone();
    for (name, value) in changes.as_object().into_iter().flatten() {
        if value.is_null() {
            object.as_object_mut().and_then(|members| members.remove(name));
        } else {
            object[name] = value.clone();
        }
    }
    object.to_string()
}

fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn sign(message: &str, algorithm: hmac::Algorithm, key: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(algorithm, key), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn signed(header: &str, claims: &str) -> String {
    sign(&message(header, claims), hmac::HMAC_SHA256, SECRET.as_bytes())
}

/// Headers that change how a token is verified.
fn headers(real: &Real) -> Vec<(&'static str, String)> {
    let unsigned = |alg: &str| {
        let token = real.header(&json!({"alg": alg}));
        format!("{}.", token.rsplit_once('.').map_or("", |(message, _)| message))
    };
    let jwk = json!({"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode("attacker")});
    let ours = SECRET.as_bytes();
    vec![
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg NONE", unsigned("NONE")),
        ("alg nOnE", unsigned("nOnE")),
        ("alg none, signed", real.header(&json!({"alg": "none"}))),
        ("alg HS384, signed so", real.signed_by(&json!({"alg": "HS384"}), hmac::HMAC_SHA384, ours)),
        ("alg HS512, signed so", real.signed_by(&json!({"alg": "HS512"}), hmac::HMAC_SHA512, ours)),
        ("alg HS256, signed by HS512", real.signed_by(&json!({}), hmac::HMAC_SHA512, ours)),
        ("alg RS256, signed by HMAC", real.header(&json!({"alg": "RS256"}))),
        ("alg ES256, signed by HMAC", real.header(&json!({"alg": "ES256"}))),
        ("alg EdDSA, signed by HMAC", real.header(&json!({"alg": "EdDSA"}))),
        ("alg in lower case", real.header(&json!({"alg": "hs256"}))),
        ("alg absent", real.header(&json!({"alg": null}))),
        ("alg a list", real.header(&json!({"alg": ["HS256"]}))),
        ("alg twice", real.header_with(r#""alg":"none""#)),
        ("typ absent", real.header(&json!({"typ": null}))),
        ("typ of another token", real.header(&json!({"typ": "at+jwt"}))),
        ("typ JWE", real.header(&json!({"typ": "JWE"}))),
        ("cty of a nested token", real.header(&json!({"cty": "JWT"}))),
        ("kid absent", real.header(&json!({"kid": null}))),
        ("kid of another key", real.header(&json!({"kid": "0011223344556677"}))),
        ("kid a path, key empty", real.signed_by(&json!({"kid": "../../../dev/null"}), hmac::HMAC_SHA256, b"")),
        ("kid a query", real.header(&json!({"kid": "x' UNION SELECT 'attacker"}))),
        ("kid twice", real.header_with(r#""kid":"0011223344556677""#)),
        ("jku", real.header(&json!({"jku": "https://evil.example/keys"}))),
        ("jwk, signed by it", real.signed_by(&json!({"jwk": jwk}), hmac::HMAC_SHA256, b"attacker")),
        ("jwk, signed by the server", real.header(&json!({"jwk": jwk}))),
        ("x5u", real.header(&json!({"x5u": "https://evil.example/chain"}))),
        ("x5c", real.header(&json!({"x5c": ["MIIB"]}))),
        ("x5t", real.header(&json!({"x5t": "AAAA"}))),
        ("crit", real.header(&json!({"crit": ["exp"]}))),
        ("crit of b64", real.header(&json!({"crit": ["b64"], "b64": false}))),
        ("zip", real.header(&json!({"zip": "DEF"}))),
        ("an unknown field", real.header(&json!({"admin": true}))),
        ("header no object", signed("[]", &real.claims.to_string())),
        ("header no JSON", signed("{", &real.claims.to_string())),
    ]
}

/// Signatures of another key or token, or none.
fn signatures(real: &Real, other: &Real) -> Vec<(&'static str, String)> {
    let (message, tag) = real.token.rsplit_once('.').unwrap_or_default();
    let foreign = other.token.rsplit_once('.').map_or("", |(_, tag)| tag);
    let claims = other.token.split('.').nth(1).unwrap_or_default();
    let header = real.token.split('.').next().unwrap_or_default();
    let first = if tag.starts_with('A') { "B" } else { "A" };
    vec![
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{}.{tag}", real.token)),
        ("five parts", format!("{}..", real.token)),
        ("a dot before", format!(".{}", real.token)),
        ("a shorter signature", format!("{message}.{}", &tag[..tag.len() - 2])),
        ("another first character", format!("{message}.{first}{}", &tag[1..])),
        ("padding", format!("{}=", real.token)),
        ("space within", format!("{message}. {tag}")),
        ("the signature of another token", format!("{message}.{foreign}")),
        ("the claims of another token", format!("{header}.{claims}.{tag}")),
        ("another key", real.signed_by(&json!({}), hmac::HMAC_SHA256, b"another key of thirty-two bytes!!")),
        ("an empty key", real.signed_by(&json!({}), hmac::HMAC_SHA256, b"")),
        ("the kid as key", real.signed_by(&json!({}), hmac::HMAC_SHA256, real.header["kid"].to_string().as_bytes())),
        ("only dots", "..".to_owned()),
    ]
}

/// Wrong claims, signed with the server's key.
fn claims(real: &Real, other: &Real) -> Vec<(&'static str, String)> {
    let (iat, exp) = (real.number("iat"), real.number("exp"));
    let header = real.header.to_string();
    vec![
        ("iss of another", real.claims(&json!({"iss": "evil"}))),
        ("iss absent", real.claims(&json!({"iss": null}))),
        ("iss a list", real.claims(&json!({"iss": ["paddock"]}))),
        ("aud of another", real.claims(&json!({"aud": "other-api"}))),
        ("aud absent", real.claims(&json!({"aud": null}))),
        ("aud several", real.claims(&json!({"aud": ["paddock-api", "other-api"]}))),
        ("sub of another user", real.claims(&json!({"sub": other.claims["sub"]}))),
        ("sub of nobody", real.claims(&json!({"sub": "99999"}))),
        ("sub a number", real.claims(&json!({"sub": 1}))),
        ("sub in another spelling", real.claims(&json!({"sub": "+1"}))),
        ("sub with zeros", real.claims(&json!({"sub": "01"}))),
        ("sub absent", real.claims(&json!({"sub": null}))),
        ("sub twice", real.claims_with(r#""sub":"2""#)),
        ("sid of another user", real.claims(&json!({"sid": other.claims["sid"]}))),
        ("sid of nobody", real.claims(&json!({"sid": "0195b3a2-7c1e-7d3a-9f60-3b0d9e1f2a44"}))),
        ("sid no UUID", real.claims(&json!({"sid": "' OR 1=1 --"}))),
        ("sid absent", real.claims(&json!({"sid": null}))),
        ("sid twice", real.claims_with(r#""sid":"0195b3a2-7c1e-7d3a-9f60-3b0d9e1f2a44""#)),
        ("exp absent", real.claims(&json!({"exp": null}))),
        ("exp past", real.claims(&json!({"exp": iat - 1, "iat": iat - 600}))),
        ("exp in a thousand years", real.claims(&json!({"exp": 32_503_680_000_i64}))),
        ("exp the last of all", real.claims(&json!({"exp": i64::MAX}))),
        ("exp negative", real.claims(&json!({"exp": -1}))),
        ("exp a text", real.claims(&json!({"exp": exp.to_string()}))),
        ("exp a fraction", real.claims_with("\"exp\":1e9")),
        ("exp twice", real.claims_with(&format!("\"exp\":{exp}"))),
        ("a minute too long", real.claims(&json!({"exp": iat + 16 * 60}))),
        ("iat absent", real.claims(&json!({"iat": null}))),
        ("iat in two minutes", real.claims(&json!({"iat": iat + 120, "exp": iat + 600}))),
        ("iat after exp", real.claims(&json!({"iat": exp + 1}))),
        ("iat negative", real.claims(&json!({"iat": i64::MIN}))),
        ("nbf in ten minutes", real.claims(&json!({"nbf": iat + 600}))),
        ("nbf a text", real.claims(&json!({"nbf": iat.to_string()}))),
        ("claims a list", signed(&header, "[]")),
        ("claims no JSON", signed(&header, "{")),
        ("claims empty", signed(&header, "")),
        ("ninety kilobytes", real.claims(&json!({"roles": ["x".repeat(90 << 10)]}))),
        ("nine kilobytes", real.claims(&json!({"roles": ["x".repeat(9 << 10)]}))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_that_the_server_issued_are_accepted() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let (_, email) = api.user_with_password(OTHER_PASSWORD).await?;
        let real = Real::of(api.sign_in(ADMIN_EMAIL, PASSWORD).await?.text("access_token")?)?;
        let other = Real::of(api.sign_in(&email, OTHER_PASSWORD).await?.text("access_token")?)?;
        let client = reqwest::Client::new();
        let ask = async |token: &str| client.get(format!("{}/me", api.contract.url)).bearer_auth(token).send().await;

        // Correct tokens signed here are accepted, so the attacks are refused for their content.
        let iat = real.number("iat");
        for token in [
            real.header(&json!({})),
            real.claims(&json!({})),
            real.claims(&json!({"nbf": iat - 1})),
            real.claims(&json!({"roles": ["x".repeat(5 << 10)]})),
        ] {
            assert_eq!(ask(&token).await?.status(), 200, "{token}");
        }
        let attacks = [headers(&real), signatures(&real, &other), claims(&real, &other)].concat();
        ensure!(attacks.len() >= 40, "{}", attacks.len());
        let (mut details, mut of_ended) = (BTreeSet::new(), None);
        for (attack, token) in attacks {
            let answer = ask(&token).await.with_context(|| attack.to_owned())?;
            assert_eq!(answer.status(), 401, "{attack}");
            let problem: Value = answer.json().await?;
            assert_eq!(problem["type"], "/problems/unauthenticated", "{attack}");
            // Whoever holds a token that was valid once learns that it has ended.
            let detail = problem["detail"].to_string();
            if attack == ENDED {
                of_ended = Some(detail);
            } else {
                details.insert(detail);
            }
        }
        ensure!(details.len() == 1, "the refusals differ: {details:?}");
        ensure!(of_ended.is_some_and(|detail| !details.contains(&detail)), "an ended token gets the same text");
        // A head larger than the server accepts.
        if let Ok(answer) = ask(&real.claims(&json!({"roles": ["x".repeat(1 << 20)]}))).await {
            ensure!(answer.status().is_client_error(), "{}", answer.status());
        }
        assert_eq!(ask(&real.token).await?.status(), 200, "it still works");
        Ok(())
    })
    .await;
}
