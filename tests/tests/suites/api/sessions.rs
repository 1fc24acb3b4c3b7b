//! Going on with a session by its cookie, and what a browser must not do; and how many may sign in at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::database::{Database, Engine};
use paddock_tests::story::story;
use serde_json::json;

use super::contract::Answer;
use super::{Api, PASSWORD, on_both_engines};

on_both_engines! {
    a_cookie_goes_on_with_a_session_once,
    a_logout_ends_what_the_cookie_stands_for,
    a_page_of_another_origin_uses_no_cookie,
    who_failed_waits_and_is_told_for_how_long,
}

/// The pair of the cookie that an answer sets, and its attributes.
pub(super) fn cookie(answer: &Answer) -> Result<(String, String)> {
    let text = answer.header("set-cookie");
    let (pair, attributes) = text.split_once("; ").with_context(|| format!("no cookie: {answer}"))?;
    Ok((pair.to_owned(), attributes.to_owned()))
}

const TAKEN_AWAY: &str = "Path=/auth; Max-Age=0; HttpOnly; SameSite=Strict";

async fn a_cookie_goes_on_with_a_session_once(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
    let (first, attributes) = cookie(&login)?;
    assert_eq!(attributes, "Path=/auth; Max-Age=604800; HttpOnly; SameSite=Strict");
    ensure!(first.strip_prefix("paddock_refresh=").is_some_and(|token| token.len() == 64), "{first}");

    let refreshed = api.anonymous("POST /auth/refresh", 0).header("cookie", &first).expect(200).await?;
    assert_eq!((&refreshed.json["token_type"], &refreshed.json["expires_in"]), (&json!("bearer"), &json!(900)));
    assert_eq!(refreshed.header("cache-control"), "no-store");
    let (second, _) = cookie(&refreshed)?;
    ensure!(second != first);
    let token = refreshed.text("access_token")?;
    api.by(&token, "GET /users", 0).expect(200).await?;
    // The cookie is no credential for anything else.
    api.anonymous("GET /me", 0).header("cookie", &second).expect(401).await?;

    // Used up: it ends everything that came of it.
    let refused = api.anonymous("POST /auth/refresh", 0).header("cookie", &first).expect(401).await?;
    assert_eq!(cookie(&refused)?, ("paddock_refresh=".to_owned(), TAKEN_AWAY.to_owned()));
    assert_eq!(refused.problem(), "unauthenticated");
    api.by(&token, "GET /me", 0).expect(401).await?;
    api.anonymous("POST /auth/refresh", 0).header("cookie", &second).expect(401).await?;
    assert_eq!(api.events(3).await?, ["session_reuse_detected", "session_refreshed", "login_success"]);

    for nothing in ["", "paddock_refresh=", "paddock_refresh=x", "other=y", "paddock_refresh=\"quoted\""] {
        let refused = api.anonymous("POST /auth/refresh", 0).header("cookie", nothing).expect(401).await?;
        assert_eq!(refused.json["detail"], "there is no session to go on with: sign in");
    }
    api.anonymous("POST /auth/refresh", 0).expect(401).await?;
    api.admin("POST /auth/refresh", 0).expect(401).await?;
    api.anonymous("POST /auth/refresh", 0).query(&[("x", "1")]).expect(422).await?;
    assert_eq!(api.events(1).await?, ["session_reuse_detected"], "none of that is recorded");
    Ok(())
}

async fn a_logout_ends_what_the_cookie_stands_for(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let begin = async || -> Result<(String, String)> {
        let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
        Ok((cookie(&login)?.0, login.text("access_token")?))
    };
    let ((mine, token), (others, other)) = (begin().await?, begin().await?);
    let left = api.anonymous("POST /auth/logout", 0).header("cookie", &mine).expect(200).await?;
    assert_eq!(cookie(&left)?.1, TAKEN_AWAY);
    api.by(&token, "GET /me", 0).expect(401).await?;
    api.anonymous("POST /auth/refresh", 0).header("cookie", &mine).expect(401).await?;
    api.by(&other, "GET /me", 0).expect(200).await?;
    // By the access token, the cookie ends too.
    api.by(&other, "POST /auth/logout", 0).expect(200).await?;
    api.anonymous("POST /auth/refresh", 0).header("cookie", &others).expect(401).await?;
    assert_eq!(api.events(2).await?, ["logout", "logout"]);
    // Again, and with nonsense: one is signed out.
    for cookie in [&mine, "paddock_refresh=x"] {
        api.anonymous("POST /auth/logout", 0).header("cookie", cookie).expect(200).await?;
    }
    api.by("nonsense", "POST /auth/logout", 0).expect(200).await?;
    // What is not understood, or may be another's, is not taken for a wish to sign out.
    api.anonymous("POST /auth/logout", 0).query(&[("x", "1")]).expect(422).await?;
    let two = format!("{mine}; paddock_refresh=x");
    api.anonymous("POST /auth/logout", 0).header("cookie", &two).expect(403).await?;

    let ((mine, token), (_, other)) = (begin().await?, begin().await?);
    let all = [("all", "true")];
    api.anonymous("POST /auth/logout", 0).query(&all).header("cookie", &mine).expect(200).await?;
    for ended in [&token, &other] {
        api.by(ended, "GET /me", 0).expect(401).await?;
    }
    Ok(())
}

async fn a_page_of_another_origin_uses_no_cookie(engine: Engine) -> Result<()> {
    let database = Box::pin(Database::new(engine)).await?;
    let public = "https://paddock.example.com";
    let configure = |config| paddock_api::Config { public_url: Some(format!("{public}/")), ..config };
    let api = Box::pin(Api::serve(database.url(), configure)).await?;
    let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
    let (mut cookie_text, attributes) = cookie(&login)?;
    ensure!(attributes.ends_with("; Secure"), "{attributes}");
    for origin in ["https://evil.example", "null", "http://localhost:1", "https://paddock.example.com.evil.example"] {
        for operation in ["POST /auth/refresh", "POST /auth/logout"] {
            let request = api.anonymous(operation, 0).header("cookie", &cookie_text).header("origin", origin);
            assert_eq!(request.expect(403).await?.problem(), "forbidden");
        }
    }
    for origin in [api.contract.url.clone(), public.to_owned()] {
        let request = api.anonymous("POST /auth/refresh", 0).header("cookie", &cookie_text).header("origin", &origin);
        cookie_text = cookie(&request.expect(200).await?)?.0;
    }
    Ok(())
}

async fn who_failed_waits_and_is_told_for_how_long(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let mut answers = Vec::new();
    for name in [ADMIN_EMAIL, "nobody@example.com", "no address"] {
        assert_eq!(api.sign_in(name, "wrong").await?.status, 401);
        let locked = api.sign_in(name, PASSWORD).await?;
        assert_eq!((locked.status, locked.problem()), (429, "login-locked"), "{locked}");
        assert_eq!(locked.header("retry-after"), "1", "{locked}");
        ensure!(!locked.body.contains("example.com"), "{locked}");
        answers.push((locked.json["type"].clone(), locked.json["title"].clone(), locked.json["detail"].clone()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    paddock_tests::eventually::eventually("the lock to end", Duration::from_secs(10), async || {
        let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
        ensure!(login.status == 200, "{login}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_signs_in_does_not_hold_up_the_rest() {
    story(async {
        let api = Api::start(Engine::Postgres).await?;
        let done = tokio::sync::Notify::new();
        let crowd = async {
            let names: Vec<String> = (0..300).map(|i| format!("user-{i}@example.com")).collect();
            let answers = join_all(names.iter().map(|name| api.sign_in(name, "wrong"))).await;
            done.notify_one();
            answers.into_iter().collect::<Result<Vec<_>>>()
        };
        let health = async {
            let mut slowest = Duration::ZERO;
            loop {
                let start = Instant::now();
                api.anonymous("GET /healthz", 0).expect(200).await?;
                slowest = slowest.max(start.elapsed());
                if tokio::time::timeout(Duration::from_millis(5), done.notified()).await.is_ok() {
                    return Ok::<_, anyhow::Error>(slowest);
                }
            }
        };
        let (answers, slowest) = tokio::join!(crowd, health);
        let (mut refused, mut turned_away) = (0, 0);
        for answer in answers? {
            match answer.status {
                401 => {}
                429 | 503 => {
                    refused += 1;
                    turned_away += i64::from(answer.problem() == "busy");
                    ensure!(!answer.header("retry-after").is_empty(), "{answer}");
                }
                _ => anyhow::bail!("{answer}"),
            }
        }
        ensure!(refused > 0, "all 300 were judged, so that the queue has no bound");
        let slowest = slowest?;
        ensure!(slowest < Duration::from_secs(3), "/healthz took {slowest:?}");
        // Who was refused for want of room is not held for one who failed.
        let rows: Vec<(i64,)> = api
            .database
            .as_ref()
            .context("a database")?
            .rows("SELECT COUNT(*) FROM login_attempts WHERE failures > 0")
            .await?;
        ensure!(rows[0].0 <= 300 - turned_away, "{} are held for failed, {turned_away} were turned away", rows[0].0);
        Ok(())
    })
    .await;
}
