//! One address that signs in, or presents cookies, without end: it is judged so often a minute, takes its part of the room,
//! and keeps nobody else out.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{join_all, try_join, try_join_all};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::database::{Database, Engine};
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::contract::{Answer, Request};
use super::sessions::cookie;
use super::{Api, MANY, PASSWORD, on_both_engines};

on_both_engines! {
    an_address_fails_to_sign_in_so_often_a_minute,
    a_flood_from_one_address_leaves_room_for_others,
    an_address_presents_so_many_wrong_cookies_a_minute,
}

const A_MINUTE: u64 = 6;
/// More than may wait to sign in, all together.
const GUESSERS: u32 = 80;
/// Who floods, and who does not.
const ONE: &str = "203.0.113.1";
const OTHER: &str = "203.0.113.2";

/// Behind a proxy that is trusted, where an address may be wrong so often a minute.
async fn behind_a_proxy(engine: Engine, failures: u64) -> Result<Api> {
    let database = Box::pin(Database::new(engine)).await?;
    let trusted_proxies = vec!["127.0.0.1/32".parse()?];
    let configure = |config| Config { auth_failures_per_minute: failures, trusted_proxies, ..config };
    let mut api = Box::pin(Api::serve(database.url(), configure)).await?;
    api.database = Some(database);
    Ok(api)
}

impl Api {
    /// A request of a client at this address.
    fn from(&self, address: &str, operation: &str) -> Request<'_> {
        self.anonymous(operation, 0).header("x-forwarded-for", address)
    }

    async fn sign_in_from(&self, address: &str, username: &str, password: &str) -> Result<Answer> {
        let credentials = json!({"username": username, "password": password});
        self.from(address, "POST /auth/login").json(&credentials).any().await
    }

    async fn go_on_from(&self, address: &str, cookie: &str) -> Result<Answer> {
        self.from(address, "POST /auth/refresh").header("cookie", cookie).any().await
    }
}

/// That it was refused unjudged, and told when to come back.
fn refused(answer: &Answer, problem: &str) -> Result<()> {
    let wait: u64 = answer.header("retry-after").parse().with_context(|| answer.to_string())?;
    ensure!((answer.status, answer.problem()) == (429, problem) && (1..=60).contains(&wait), "{answer}");
    Ok(())
}

/// How many were judged, and found wrong; all others were refused.
fn judged(answers: &[Answer], problem: &str) -> Result<u64> {
    let (wrong, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 401);
    others.into_iter().try_for_each(|answer| refused(answer, problem))?;
    Ok(wrong.len() as u64)
}

/// No fewer than a minute's worth, and no more than came back meanwhile.
fn as_many_as_may_be(judged: u64, began: Instant) -> Result<()> {
    let most = A_MINUTE + began.elapsed().as_secs() * A_MINUTE / 60 + 1;
    ensure!((A_MINUTE..=most).contains(&judged), "{judged} were judged, and {most} may have been");
    Ok(())
}

async fn an_address_fails_to_sign_in_so_often_a_minute(engine: Engine) -> Result<()> {
    let api = behind_a_proxy(engine, A_MINUTE).await?;
    let began = Instant::now();
    let names: Vec<String> = (0..40).map(|number| format!("nobody-{number}@example.com")).collect();
    let crowd = try_join_all(names[1..].iter().map(|name| api.sign_in_from(ONE, name, "wrong"))).await?;
    let of_one = judged(&crowd, "login-locked")?;
    as_many_as_may_be(of_one, began)?;
    // Nothing was even counted for the others; the right password is refused likewise, and the answers tell nothing.
    let database = api.database.as_ref().context("a database")?;
    let attempts = database.rows::<(i64,)>("SELECT COUNT(*) FROM login_attempts").await?[0].0;
    ensure!(u64::try_from(attempts)? == of_one, "{attempts} of {of_one}");
    let (known, unknown) =
        (api.sign_in_from(ONE, ADMIN_EMAIL, PASSWORD).await?, api.sign_in_from(ONE, &names[0], "wrong").await?);
    refused(&known, "login-locked")?;
    refused(&unknown, "login-locked")?;
    assert_eq!(known.json["detail"], unknown.json["detail"]);

    // The owner is not kept out, and what succeeds costs nothing, one after the other or at once.
    for _ in 0..2 * A_MINUTE {
        assert_eq!(api.sign_in_from(OTHER, ADMIN_EMAIL, PASSWORD).await?.status, 200);
    }
    let windows = join_all((0..A_MINUTE).map(|_| api.sign_in_from(OTHER, ADMIN_EMAIL, PASSWORD))).await;
    for window in windows {
        assert_eq!(window?.status, 200);
    }
    // All addresses of an IPv6 client are one.
    let began = Instant::now();
    let addresses: Vec<String> = (1..20).map(|number| format!("2001:db8:0:1::{number}")).collect();
    let pairs = addresses.iter().zip(&names);
    let crowd = try_join_all(pairs.map(|(address, name)| api.sign_in_from(address, name, "wrong"))).await?;
    as_many_as_may_be(judged(&crowd, "login-locked")?, began)?;

    // Keys are another matter: they go on where sign-ins failed, and where keys are guessed one signs in.
    let by_key = format!("Bearer {}", api.admin);
    api.from(ONE, "GET /me").header("authorization", &by_key).expect(200).await?;
    let mut statuses = Vec::new();
    for _ in 0..2 * A_MINUTE {
        let guess = Client::new().get(format!("{}/me", api.contract.url)).bearer_auth("pdk_x");
        statuses.push(guess.header("x-forwarded-for", "203.0.113.3").send().await?.status().as_u16());
    }
    ensure!(statuses.first() == Some(&401) && statuses.last() == Some(&429), "{statuses:?}");
    assert_eq!(api.sign_in_from("203.0.113.3", ADMIN_EMAIL, PASSWORD).await?.status, 200);
    Ok(())
}

async fn a_flood_from_one_address_leaves_room_for_others(engine: Engine) -> Result<()> {
    let api = behind_a_proxy(engine, MANY).await?;
    let (client, url, over) = (Client::new(), format!("{}/auth/login", api.contract.url), CancellationToken::new());
    // Not through the contract: it takes longer to look at an answer than to give it.
    let guess = async |name: &str| -> Result<StatusCode> {
        let credentials = json!({"username": name, "password": "wrong"});
        let request = client.post(&url).header("x-forwarded-for", ONE).json(&credentials);
        Ok(request.send().await?.status())
    };
    let guesser = async |number: u32| -> Result<[u32; 2]> {
        let (mut judged, mut busy) = (0, 0);
        while !over.is_cancelled() {
            match guess(&format!("nobody-{number}-{}@example.com", judged + busy)).await? {
                StatusCode::UNAUTHORIZED => judged += 1,
                StatusCode::SERVICE_UNAVAILABLE => {
                    busy += 1;
                    let _ = timeout(Duration::from_millis(500), over.cancelled()).await;
                }
                other => anyhow::bail!("{other}"),
            }
        }
        Ok([judged, busy])
    };
    let owner = async {
        // From now on there is no room for the flood.
        while guess("nobody@example.com").await? != StatusCode::SERVICE_UNAVAILABLE {}
        let mut answers = Vec::new();
        for _ in 0..10 {
            answers.push(api.sign_in_from(OTHER, ADMIN_EMAIL, PASSWORD).await?);
        }
        over.cancel();
        Ok(answers)
    };
    let (flood, answers) = try_join(try_join_all((0..GUESSERS).map(guesser)), owner).await?;
    for answer in &answers {
        ensure!(answer.status == 200, "the owner was kept out: {answer}");
    }
    let [judged, busy] = [0, 1].map(|place| flood.iter().map(|of| of[place]).sum::<u32>());
    ensure!(judged > 0 && busy > 0, "{judged} were judged, {busy} had no room");
    Ok(())
}

async fn an_address_presents_so_many_wrong_cookies_a_minute(engine: Engine) -> Result<()> {
    let api = behind_a_proxy(engine, A_MINUTE).await?;
    let login = api.sign_in_from(OTHER, ADMIN_EMAIL, PASSWORD).await?;
    let (right, _) = cookie(&login)?;
    let wrong: Vec<String> = (0..20).map(|number| format!("paddock_refresh={number:064x}")).collect();
    let began = Instant::now();
    let mut answers = Vec::new();
    for cookie in &wrong {
        answers.push(api.go_on_from(ONE, cookie).await?);
    }
    as_many_as_may_be(judged(&answers, "rate-limited")?, began)?;
    // A right one has to wait there, and counts still. No request without one is held up, nor is a sign-in.
    refused(&api.go_on_from(ONE, &right).await?, "rate-limited")?;
    refused(&api.from(ONE, "POST /auth/logout").header("cookie", &right).any().await?, "rate-limited")?;
    api.from(ONE, "POST /auth/logout").expect(200).await?;
    assert_eq!(api.sign_in_from(ONE, ADMIN_EMAIL, PASSWORD).await?.status, 200);
    let gone_on = api.go_on_from(OTHER, &right).await?;
    assert_eq!(gone_on.status, 200, "{gone_on}");
    // Whoever has a session ends it, and its cookie with it.
    let (right, bearer) = (cookie(&gone_on)?.0, format!("Bearer {}", gone_on.text("access_token")?));
    let logout = api.from(ONE, "POST /auth/logout").header("authorization", &bearer).header("cookie", &right);
    logout.expect(200).await?;
    assert_eq!(api.go_on_from(OTHER, &right).await?.status, 401);

    // Signing out with them is no way around.
    let began = Instant::now();
    let mut signed_out = 0;
    for cookie in &wrong {
        let answer = api.from("203.0.113.3", "POST /auth/logout").header("cookie", cookie).any().await?;
        if answer.status == 200 {
            signed_out += 1;
        } else {
            refused(&answer, "rate-limited")?;
        }
    }
    as_many_as_may_be(signed_out, began)
}
