//! The limits of failed sign-ins and wrong cookies per client address, and that they leave other
//! addresses alone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{join_all, try_join, try_join_all};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::{database::Engine, story::story};
use reqwest::{Client, StatusCode};
use rstest::rstest;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Api, NO_LIMIT, PASSWORD,
    contract::{Answer, Request},
    sessions::cookie,
};

/// The failures per minute that an address may have.
const FAILURES_PER_MINUTE: u64 = 6;
/// More clients than may wait to sign in.
const GUESSERS: u32 = 80;
const ATTACKER: &str = "203.0.113.1";
const OWNER: &str = "203.0.113.2";

/// The API behind a trusted proxy, with this limit of failures per minute and address.
async fn behind_a_proxy(engine: Engine, failures: u64) -> Result<Api> {
    let trusted_proxies = vec!["127.0.0.1/32".parse()?];
    let configure = |config| Config { auth_failures_per_minute: failures, trusted_proxies, ..config };
    Api::start_with(engine, configure).await
}

impl Api {
    /// Signs in from this address.
    async fn sign_in_from(&self, address: &str, username: &str, password: &str) -> Result<Answer> {
        let credentials = json!({"username": username, "password": password});
        self.anonymous().post("/auth/login").header("x-forwarded-for", address).json(&credentials).any().await
    }

    /// Refreshes a session from this address.
    async fn refresh_from(&self, address: &str, cookie: &str) -> Result<Answer> {
        let request = self.anonymous().post("/auth/refresh").header("x-forwarded-for", address);
        request.header("cookie", cookie).any().await
    }

    /// A sign-out from this address.
    fn logout_from(&self, address: &str) -> Request<'_> {
        self.anonymous().post("/auth/logout").header("x-forwarded-for", address)
    }
}

/// Asserts that the answer refuses the attempt unchecked, with the time of the next try.
fn assert_refused(answer: &Answer, problem: &str) -> Result<()> {
    let wait: u64 = answer.header("retry-after").parse().with_context(|| answer.to_string())?;
    ensure!((answer.status, answer.problem()) == (429, problem) && (1..=60).contains(&wait), "{answer}");
    Ok(())
}

/// The number of attempts that were checked and found wrong. All others must have been refused
/// unchecked.
fn count_checked(answers: &[Answer], problem: &str) -> Result<u64> {
    let (wrong, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 401);
    others.into_iter().try_for_each(|answer| assert_refused(answer, problem))?;
    Ok(wrong.len() as u64)
}

/// Asserts that as many attempts were checked as the limit allows since `began`, refills included.
fn assert_within_limit(checked: u64, began: Instant) -> Result<()> {
    let most = FAILURES_PER_MINUTE + began.elapsed().as_secs() * FAILURES_PER_MINUTE / 60 + 1;
    ensure!((FAILURES_PER_MINUTE..=most).contains(&checked), "{checked} were checked, and {most} are allowed");
    Ok(())
}

/// Names of users that do not exist.
fn unknown_names() -> Vec<String> {
    (0..40).map(|number| format!("nobody-{number}@example.com")).collect()
}

/// Fails to sign in at all these users at once, from the attacker's address.
async fn exhaust(api: &Api, names: &[String]) -> Result<Vec<Answer>> {
    try_join_all(names.iter().map(|name| api.sign_in_from(ATTACKER, name, "wrong"))).await
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_limited_number_of_failed_sign_ins_per_minute(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let began = Instant::now();
        let checked = count_checked(&exhaust(&api, &unknown_names()).await?, "login-locked")?;
        assert_within_limit(checked, began)?;
        // The refused attempts are not counted for their users.
        let attempts = api.database()?.rows::<(i64,)>("SELECT COUNT(*) FROM login_attempts").await?[0].0;
        ensure!(u64::try_from(attempts)? == checked, "{attempts} of {checked}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_address_gets_the_same_refusal_for_right_and_wrong_passwords(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let names = unknown_names();
        exhaust(&api, &names[1..]).await?;
        let right = api.sign_in_from(ATTACKER, ADMIN_EMAIL, PASSWORD).await?;
        let wrong = api.sign_in_from(ATTACKER, &names[0], "wrong").await?;
        assert_refused(&right, "login-locked")?;
        assert_refused(&wrong, "login-locked")?;
        assert_eq!(right.json["detail"], wrong.json["detail"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn successful_sign_ins_do_not_count_against_an_address(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        exhaust(&api, &unknown_names()).await?;
        for _ in 0..2 * FAILURES_PER_MINUTE {
            assert_eq!(api.sign_in_from(OWNER, ADMIN_EMAIL, PASSWORD).await?.status, 200);
        }
        let at_once = join_all((0..FAILURES_PER_MINUTE).map(|_| api.sign_in_from(OWNER, ADMIN_EMAIL, PASSWORD))).await;
        for answer in at_once {
            assert_eq!(answer?.status, 200);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_an_ipv6_network_share_one_limit(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let (names, began) = (unknown_names(), Instant::now());
        let addresses: Vec<String> = (1..20).map(|number| format!("2001:db8:0:1::{number}")).collect();
        let pairs = addresses.iter().zip(&names);
        let answers = try_join_all(pairs.map(|(address, name)| api.sign_in_from(address, name, "wrong"))).await?;
        assert_within_limit(count_checked(&answers, "login-locked")?, began)?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_and_wrong_keys_are_counted_apart(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        exhaust(&api, &unknown_names()).await?;
        api.admin().get("/me").header("x-forwarded-for", ATTACKER).expect(200).await?;

        let guesser = "203.0.113.3";
        let mut statuses = Vec::new();
        for _ in 0..2 * FAILURES_PER_MINUTE {
            let guess = Client::new().get(format!("{}/me", api.contract.url)).bearer_auth("pdk_x");
            statuses.push(guess.header("x-forwarded-for", guesser).send().await?.status().as_u16());
        }
        ensure!(statuses.first() == Some(&401) && statuses.last() == Some(&429), "{statuses:?}");
        assert_eq!(api.sign_in_from(guesser, ADMIN_EMAIL, PASSWORD).await?.status, 200);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_leaves_hashing_capacity_for_others(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, NO_LIMIT).await?;
        let (client, url, done) = (Client::new(), format!("{}/auth/login", api.contract.url), CancellationToken::new());
        // Without the contract's check, which takes longer than the answer.
        let guess = async |name: &str| -> Result<StatusCode> {
            let credentials = json!({"username": name, "password": "wrong"});
            let request = client.post(&url).header("x-forwarded-for", ATTACKER).json(&credentials);
            Ok(request.send().await?.status())
        };
        let guesser = async |number: u32| -> Result<[u32; 2]> {
            let (mut checked, mut busy) = (0, 0);
            while !done.is_cancelled() {
                match guess(&format!("nobody-{number}-{}@example.com", checked + busy)).await? {
                    StatusCode::UNAUTHORIZED => checked += 1,
                    StatusCode::SERVICE_UNAVAILABLE => {
                        busy += 1;
                        let _ = timeout(Duration::from_millis(500), done.cancelled()).await;
                    }
                    other => anyhow::bail!("{other}"),
                }
            }
            Ok([checked, busy])
        };
        let owner = async {
            // Wait until the flood exceeds its share.
            while guess("nobody@example.com").await? != StatusCode::SERVICE_UNAVAILABLE {}
            let mut answers = Vec::new();
            for _ in 0..10 {
                answers.push(api.sign_in_from(OWNER, ADMIN_EMAIL, PASSWORD).await?);
            }
            done.cancel();
            Ok(answers)
        };
        let (flood, answers) = try_join(try_join_all((0..GUESSERS).map(guesser)), owner).await?;
        for answer in &answers {
            ensure!(answer.status == 200, "the owner was refused: {answer}");
        }
        let [checked, busy] = [0, 1].map(|at| flood.iter().map(|counts| counts[at]).sum::<u32>());
        ensure!(checked > 0 && busy > 0, "{checked} were checked, {busy} were refused as busy");
        Ok(())
    })
    .await;
}

/// Cookies of the right form that belong to no session.
fn wrong_cookies() -> Vec<String> {
    (0..20).map(|number| format!("paddock_refresh={number:064x}")).collect()
}

/// Presents all these cookies from the attacker's address.
async fn present(api: &Api, cookies: &[String]) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for cookie in cookies {
        answers.push(api.refresh_from(ATTACKER, cookie).await?);
    }
    Ok(answers)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_limited_number_of_wrong_cookies_per_minute(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let began = Instant::now();
        let answers = present(&api, &wrong_cookies()).await?;
        assert_within_limit(count_checked(&answers, "rate-limited")?, began)?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_address_cannot_use_a_right_cookie_which_stays_valid(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let (right, _) = cookie(&api.sign_in_from(OWNER, ADMIN_EMAIL, PASSWORD).await?)?;
        present(&api, &wrong_cookies()).await?;
        assert_refused(&api.refresh_from(ATTACKER, &right).await?, "rate-limited")?;
        assert_refused(&api.logout_from(ATTACKER).header("cookie", &right).any().await?, "rate-limited")?;
        let refreshed = api.refresh_from(OWNER, &right).await?;
        assert_eq!(refreshed.status, 200, "{refreshed}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_address_signs_in_and_out_without_a_cookie(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        present(&api, &wrong_cookies()).await?;
        api.logout_from(ATTACKER).expect(200).await?;
        assert_eq!(api.sign_in_from(ATTACKER, ADMIN_EMAIL, PASSWORD).await?.status, 200);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_with_an_access_token_ends_the_cookie_at_an_exhausted_address(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let login = api.sign_in_from(OWNER, ADMIN_EMAIL, PASSWORD).await?;
        present(&api, &wrong_cookies()).await?;
        let (right, bearer) = (cookie(&login)?.0, format!("Bearer {}", login.text("access_token")?));
        api.logout_from(ATTACKER).header("authorization", &bearer).header("cookie", &right).expect(200).await?;
        assert_eq!(api.refresh_from(OWNER, &right).await?.status, 401);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_with_a_wrong_cookie_counts_against_its_address(#[case] engine: Engine) {
    story(async {
        let api = behind_a_proxy(engine, FAILURES_PER_MINUTE).await?;
        let began = Instant::now();
        let mut signed_out = 0;
        for cookie in wrong_cookies() {
            let answer = api.logout_from(ATTACKER).header("cookie", &cookie).any().await?;
            if answer.status == 200 {
                signed_out += 1;
            } else {
                assert_refused(&answer, "rate-limited")?;
            }
        }
        assert_within_limit(signed_out, began)?;
        Ok(())
    })
    .await;
}
