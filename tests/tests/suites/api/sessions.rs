//! Refreshing a session by its cookie, signing out with it, requests of other origins, and login
//! locks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::{database::Engine, eventually::eventually, story::story};
use rstest::rstest;
use serde_json::json;

use super::{
    Api, PASSWORD,
    contract::{Answer, Request},
};

/// The cookie that an answer sets: its `name=value` pair, and its attributes.
pub(super) fn cookie(answer: &Answer) -> Result<(String, String)> {
    let text = answer.header("set-cookie");
    let (pair, attributes) = text.split_once("; ").with_context(|| format!("no cookie: {answer}"))?;
    Ok((pair.to_owned(), attributes.to_owned()))
}

/// The attributes of a cookie that the server clears.
const CLEARED: &str = "Path=/auth; Max-Age=0; HttpOnly; SameSite=Strict";

/// A refresh with this cookie.
fn refresh<'a>(api: &'a Api, cookie: &str) -> Request<'a> {
    api.anonymous().post("/auth/refresh").header("cookie", cookie)
}

/// A sign-out with this cookie.
fn logout<'a>(api: &'a Api, cookie: &str) -> Request<'a> {
    api.anonymous().post("/auth/logout").header("cookie", cookie)
}

/// A new session of the first admin: its cookie and its access token.
async fn begin(api: &Api) -> Result<(String, String)> {
    let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
    Ok((cookie(&login)?.0, login.text("access_token")?))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_replaces_the_cookie_and_the_access_token(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (first, attributes) = cookie(&api.sign_in(ADMIN_EMAIL, PASSWORD).await?)?;
        assert_eq!(attributes, "Path=/auth; Max-Age=604800; HttpOnly; SameSite=Strict");
        ensure!(first.strip_prefix("paddock_refresh=").is_some_and(|token| token.len() == 64), "{first}");

        let refreshed = refresh(&api, &first).expect(200).await?;
        assert_eq!((&refreshed.json["token_type"], &refreshed.json["expires_in"]), (&json!("bearer"), &json!(900)));
        assert_eq!(refreshed.header("cache-control"), "no-store");
        ensure!(cookie(&refreshed)?.0 != first);
        api.by(&refreshed.text("access_token")?).get("/users").expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_authenticates_no_other_request(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (cookie, _) = begin(&api).await?;
        api.anonymous().get("/me").header("cookie", &cookie).expect(401).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_works_for_two_tabs_and_its_third_use_ends_the_session(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (first, _) = begin(&api).await?;
        let refreshed = refresh(&api, &first).expect(200).await?;
        let other_tab = refresh(&api, &first).expect(200).await?;
        for tab in [&refreshed, &other_tab] {
            api.by(&tab.text("access_token")?).get("/me").expect(200).await?;
        }
        let refused = refresh(&api, &first).expect(401).await?;
        assert_eq!(cookie(&refused)?, ("paddock_refresh=".to_owned(), CLEARED.to_owned()));
        assert_eq!(refused.problem(), "unauthenticated");
        api.by(&refreshed.text("access_token")?).get("/me").expect(401).await?;
        refresh(&api, &cookie(&refreshed)?.0).expect(401).await?;
        let expected = ["session_reuse_detected", "session_refreshed", "session_refreshed", "login_success"];
        assert_eq!(api.events(4).await?, expected);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_without_a_valid_cookie_is_refused_and_not_recorded(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let before = api.events(1).await?;
        let mut details = Vec::new();
        for cookie in ["", "paddock_refresh=", "paddock_refresh=x", "other=y", "paddock_refresh=\"quoted\""] {
            let refused = refresh(&api, cookie).expect(401).await?;
            details.push((refused.json["type"].clone(), refused.json["detail"].clone()));
        }
        details.dedup();
        assert_eq!(details.len(), 1, "{details:?}");
        api.anonymous().post("/auth/refresh").expect(401).await?;
        api.admin().post("/auth/refresh").expect(401).await?;
        api.anonymous().post("/auth/refresh").query(&[("x", "1")]).expect(422).await?;
        assert_eq!(api.events(1).await?, before);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_with_a_cookie_ends_its_session(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ((mine, token), (_, other)) = (begin(&api).await?, begin(&api).await?);
        let left = logout(&api, &mine).expect(200).await?;
        assert_eq!(cookie(&left)?.1, CLEARED);
        api.by(&token).get("/me").expect(401).await?;
        refresh(&api, &mine).expect(401).await?;
        api.by(&other).get("/me").expect(200).await?;
        assert_eq!(api.events(1).await?, ["logout"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_with_an_access_token_ends_the_cookie(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (cookie, token) = begin(&api).await?;
        api.by(&token).post("/auth/logout").expect(200).await?;
        refresh(&api, &cookie).expect(401).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_with_an_ended_or_unknown_cookie_succeeds(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (mine, _) = begin(&api).await?;
        for cookie in [&mine, &mine, "paddock_refresh=x"] {
            logout(&api, cookie).expect(200).await?;
        }
        api.by("nonsense").post("/auth/logout").expect(200).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_logout_is_refused(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (mine, _) = begin(&api).await?;
        api.anonymous().post("/auth/logout").query(&[("x", "1")]).expect(422).await?;
        logout(&api, &format!("{mine}; paddock_refresh=x")).expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_of_all_with_a_cookie_ends_every_session(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ((mine, token), (_, other)) = (begin(&api).await?, begin(&api).await?);
        logout(&api, &mine).query(&[("all", "true")]).expect(200).await?;
        for ended in [&token, &other] {
            api.by(ended).get("/me").expect(401).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_cannot_use_the_cookie(#[case] engine: Engine) {
    story(async {
        let public = "https://paddock.example.com";
        let configure = |config| Config { public_url: Some(format!("{public}/")), ..config };
        let api = Api::start_with(engine, configure).await?;
        let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
        let (mut cookie_text, attributes) = cookie(&login)?;
        ensure!(attributes.ends_with("; Secure"), "{attributes}");
        for origin in ["https://evil.example", "null", "http://localhost:1", "https://paddock.example.com.evil.example"]
        {
            for operation in ["POST /auth/refresh", "POST /auth/logout"] {
                let request =
                    api.anonymous().operation(operation, 0).header("cookie", &cookie_text).header("origin", origin);
                assert_eq!(request.expect(403).await?.problem(), "forbidden");
            }
        }
        for origin in [api.contract.url.clone(), public.to_owned()] {
            let request =
                api.anonymous().post("/auth/refresh").header("cookie", &cookie_text).header("origin", &origin);
            cookie_text = cookie(&request.expect(200).await?)?.0;
        }
        Ok(())
    })
    .await;
}

/// An address in a local network.
const LAN: &str = "192.0.2.7:8080";

/// A sign-in from a page at that address.
fn sign_in_over_plain_http(api: &Api) -> Request<'_> {
    let credentials = json!({"username": ADMIN_EMAIL, "password": PASSWORD});
    let request = api.anonymous().post("/auth/login").json(&credentials);
    request.header("host", LAN).header("origin", &format!("http://{LAN}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_plain_http_signs_in_only_where_the_public_url_allows_it() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        assert_eq!(sign_in_over_plain_http(&api).expect(403).await?.problem(), "insecure-page");
        let configure = |config| Config { public_url: Some(format!("http://{LAN}")), ..config };
        let api = Api::start_with(Engine::Sqlite, configure).await?;
        let (_, attributes) = cookie(&sign_in_over_plain_http(&api).expect(200).await?)?;
        ensure!(!attributes.contains("Secure"), "{attributes}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sign_in_locks_the_next_one_and_says_for_how_long(#[case] engine: Engine) {
    story(async {
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
        eventually("the lock to end", Duration::from_secs(10), async || {
            let login = api.sign_in(ADMIN_EMAIL, PASSWORD).await?;
            ensure!(login.status == 200, "{login}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_sign_ins_at_once_do_not_delay_other_requests() {
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
                api.anonymous().get("/healthz").expect(200).await?;
                slowest = slowest.max(start.elapsed());
                if tokio::time::timeout(Duration::from_millis(5), done.notified()).await.is_ok() {
                    return Ok::<_, anyhow::Error>(slowest);
                }
            }
        };
        let (answers, slowest) = tokio::join!(crowd, health);
        let (mut refused, mut busy) = (0, 0);
        for answer in answers? {
            match answer.status {
                401 => {}
                429 | 503 => {
                    refused += 1;
                    busy += i64::from(answer.problem() == "busy");
                    ensure!(!answer.header("retry-after").is_empty(), "{answer}");
                }
                _ => anyhow::bail!("{answer}"),
            }
        }
        ensure!(refused > 0, "all 300 were checked: the queue has no bound");
        let slowest = slowest?;
        ensure!(slowest < Duration::from_secs(3), "/healthz took {slowest:?}");
        // A sign-in that was refused as busy is not counted as a failure.
        let rows: Vec<(i64,)> = api.database()?.rows("SELECT COUNT(*) FROM login_attempts WHERE failures > 0").await?;
        ensure!(rows[0].0 <= 300 - busy, "{} are counted as failures, {busy} were refused as busy", rows[0].0);
        Ok(())
    })
    .await;
}
