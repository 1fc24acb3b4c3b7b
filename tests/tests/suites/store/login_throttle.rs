//! The login throttle: failed sign-ins lock an account for an address, and no other account or
//! address.

use std::{
    io::Write as _,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use futures_util::future::join_all;
use paddock_accounts::{
    Accounts, Error,
    bootstrap::{ADMIN_EMAIL, Seed},
    passwords::PasswordPolicy,
    types::Role,
    users::UserPatch,
};
use paddock_store::{
    OpenOptions,
    clock::{Clock, Timestamp},
    context::{Actor, AuditContext},
};
use paddock_tests::{
    database::Engine,
    story::{soak_or, story},
};
use rstest::rstest;

use super::{StoreFixture, chain, open, sessions};

const PASSWORD: &str = "violet harbour tangle 93";
/// The number of concurrent attempts before the first has failed.
const BURST: usize = 10;

fn from(ip: &str) -> AuditContext {
    let ip: IpAddr = ip.parse().expect("an address");
    AuditContext { actor: Actor::Anonymous, ip: Some(ip), user_agent: None, request_id: None }
}

async fn seeded(engine: Engine) -> Result<StoreFixture> {
    let store = open(engine).await?;
    store.accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
    Ok(store)
}

impl StoreFixture {
    async fn sign_in(&self, ip: &str, username: &str, password: &str) -> Result<(), Error> {
        self.accounts.sessions().login(&from(ip), username, password.into()).await.map(|_| ())
    }

    /// Asserts that a sign-in is refused unchecked, and returns the duration of the lock.
    async fn assert_locked(&self, ip: &str, username: &str, password: &str) -> Result<Duration> {
        match self.sign_in(ip, username, password).await {
            Err(Error::LoginLocked { retry_after }) => Ok(retry_after),
            other => bail!("{other:?}"),
        }
    }

    /// Fails to sign in.
    async fn fail(&self, ip: &str, username: &str) -> Result<()> {
        let refused = self.sign_in(ip, username, "wrong").await;
        ensure!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
        Ok(())
    }
}

/// An account that exists, one that does not, and a name that is no address. The server must treat
/// them alike.
const ACCOUNTS: [(&str, &str); 3] =
    [("192.0.2.1", ADMIN_EMAIL), ("192.0.2.2", "nobody@example.com"), ("192.0.2.3", "no address")];

/// Fails five times at each account, after each lock.
async fn fail_five_times(store: &StoreFixture) -> Result<()> {
    for (ip, name) in ACCOUNTS {
        for seconds in [1, 3, 5, 10, 10] {
            store.fail(ip, name).await?;
            let locked = store.assert_locked(ip, name, PASSWORD).await?;
            ensure!(locked == Duration::from_secs(seconds), "{name}: {locked:?} instead of {seconds} s");
            store.clock.advance(locked.saturating_sub(Duration::from_millis(1)));
            store.assert_locked(ip, name, PASSWORD).await?;
            store.clock.advance(Duration::from_millis(1));
        }
    }
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_failure_locks_an_account_for_longer(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        fail_five_times(&store).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_lock_is_recorded_once_by_account(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        fail_five_times(&store).await?;
        // The first lock of an account is written at once, the others are counted.
        ensure!(store.times_of("login_rate_limited").await? == [1, 1, 1]);
        let store = store.reopen(|_| ()).await?;
        let locks = store.times_of("login_rate_limited").await?;
        ensure!(locks.len() == 6 && locks.iter().sum::<u64>() == 15, "{locks:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_success_resets_the_lock(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        fail_five_times(&store).await?;
        let (ip, name) = ACCOUNTS[0];
        store.sign_in(ip, name, PASSWORD).await?;
        store.fail(ip, name).await?;
        ensure!(store.assert_locked(ip, name, PASSWORD).await? == Duration::from_secs(1));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_resets_the_lock(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        fail_five_times(&store).await?;
        let (ip, name) = ACCOUNTS[2];
        store.clock.advance(Duration::from_hours(1) + Duration::from_secs(1));
        store.fail(ip, name).await?;
        ensure!(store.assert_locked(ip, name, PASSWORD).await? == Duration::from_secs(1));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_old_attempts(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let rows = async || store.database.execute("UPDATE login_attempts SET failures = failures").await;
        store.fail("192.0.2.1", ADMIN_EMAIL).await?;
        store.clock.advance(Duration::from_hours(1) + Duration::from_secs(1));
        store.fail("192.0.2.2", ADMIN_EMAIL).await?;
        ensure!(rows().await? == 2);
        store.accounts.sessions().sweep().await?;
        ensure!(rows().await? == 1, "the recent attempt is removed");
        store.clock.advance(Duration::from_hours(2));
        store.accounts.sessions().sweep().await?;
        ensure!(rows().await? == 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_applies_to_one_account_from_one_network(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        store.fail("2001:db8:1:2::1", ADMIN_EMAIL).await?;
        // The same network, and another spelling of the same account.
        store.assert_locked("2001:db8:1:2:ffff::9", ADMIN_EMAIL, PASSWORD).await?;
        store.assert_locked("2001:db8:1:2::1", "ADMIN@Example.com ", PASSWORD).await?;
        // Other networks, and another account.
        store.sign_in("2001:db8:1:3::1", ADMIN_EMAIL, PASSWORD).await?;
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        store.fail("2001:db8:1:2::1", "other@example.com").await?;
        // A success from another network does not clear the lock.
        store.assert_locked("2001:db8:1:2::1", ADMIN_EMAIL, PASSWORD).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_guesses_at_two_replicas_share_one_limit() {
    story(async {
        let store = seeded(Engine::Postgres).await?;
        let options = OpenOptions { max_connections: 8, ..OpenOptions::new(store.database.url().into()) };
        let other =
            Accounts::open(&options, chain(), sessions()?, PasswordPolicy::default(), Arc::new(store.clock.clone()))
                .await?;
        let attacker = from("192.0.2.66");
        for round in 0..3 {
            let guesses = (0..200).map(|i| {
                let replica = if i % 2 == 0 { &store.accounts } else { &other };
                replica.sessions().login(&attacker, ADMIN_EMAIL, format!("guess {i}").into())
            });
            let owner = store.sign_in("198.51.100.7", ADMIN_EMAIL, PASSWORD);
            let (outcomes, owner) = tokio::join!(join_all(guesses), owner);
            let mut checked = 0;
            for outcome in outcomes {
                match outcome {
                    Err(Error::WrongPassword) => checked += 1,
                    Err(Error::LoginLocked { .. } | Error::Busy { .. }) => {}
                    other => bail!("{other:?}"),
                }
            }
            // At first as many as may be concurrent, then one for each lock.
            let limit = if round == 0 { BURST } else { 1 };
            ensure!((1..=limit).contains(&checked), "round {round}: {checked} guesses were checked");
            ensure!(owner.is_ok(), "round {round}: the owner was refused: {owner:?}");
            store.clock.advance(Duration::from_secs(10));
        }
        Ok(())
    })
    .await;
}

/// A clock that runs backwards, as concurrent requests can see it.
struct BackwardClock(AtomicI64);

impl Clock for BackwardClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_sub(1, Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sign_ins_with_a_clock_that_runs_backwards_succeed() {
    story(async {
        let store = seeded(Engine::Postgres).await?;
        let options = OpenOptions { max_connections: 8, ..OpenOptions::new(store.database.url().into()) };
        let clock = BackwardClock(AtomicI64::new(store.accounts.now().micros()));
        let other = Accounts::open(&options, chain(), sessions()?, PasswordPolicy::default(), Arc::new(clock)).await?;
        let here = from("192.0.2.1");
        let sign_ins = (0..8).map(|_| other.sessions().login(&here, ADMIN_EMAIL, PASSWORD.into()));
        for signed_in in join_all(sign_ins).await {
            signed_in?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sign_ins_of_one_user_succeed(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        for _ in 0..3 {
            let sign_ins = (0..8).map(|_| store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD));
            for signed_in in join_all(sign_ins).await {
                signed_in?;
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
async fn a_cheap_hash_is_replaced_at_the_next_sign_in(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        // The same password with m=8192.
        let cheap = cheap_hash(PASSWORD)?;
        store.database.execute(&format!("UPDATE passwords SET hash = '{cheap}'")).await?;
        let hash = async || -> Result<String> {
            Ok(store.database.rows::<(String,)>("SELECT hash FROM passwords").await?.remove(0).0)
        };
        store.fail("192.0.2.1", ADMIN_EMAIL).await?;
        ensure!(hash().await? == cheap, "a wrong password changes nothing");
        store.clock.advance(Duration::from_secs(1));
        let events = store.events().await?.len();
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        let strong = hash().await?;
        ensure!(strong.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{strong}");
        ensure!(store.events().await?[events..] == ["login_success"], "one event for both");
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        ensure!(hash().await? == strong, "the hash is replaced again");
        Ok(())
    })
    .await;
}

fn cheap_hash(password: &str) -> Result<String> {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
    let params = Params::new(8_192, 2, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: argon2::password_hash::phc::PasswordHash =
        argon2.hash_password(password.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(hash.to_string())
}

/// Every failed sign-in takes the same time: one without Argon2 would take a tenth. `make soak`
/// measures more precisely.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_failure_takes_the_same_time(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        store.user("nopassword@example.com", &[Role::User]).await?;
        let disabled = store.user("disabled@example.com", &[Role::User]).await?.id;
        store.accounts.passwords().set(&from("192.0.2.1"), disabled, PASSWORD.into()).await?;
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.users().update(&from("192.0.2.1"), disabled, off, Ok(())).await?;
        // Its own account, because failures of one account within a minute are aggregated.
        let long_password = store.user("long@example.com", &[Role::User]).await?.id;
        store.accounts.passwords().set(&from("192.0.2.1"), long_password, PASSWORD.into()).await?;
        let long = "x".repeat(5_000);
        let kinds = [
            ("unknown", "nobody@example.com", PASSWORD),
            ("wrong", ADMIN_EMAIL, "violet harbour tangle 94"),
            ("disabled", "disabled@example.com", PASSWORD),
            ("password-less", "nopassword@example.com", PASSWORD),
            ("over-long", "long@example.com", &long),
            ("no address", "no address", PASSWORD),
        ];
        // The times of a short run depend on the load of the machine, so that only the long run
        // asserts them.
        let (rounds, is_asserted) = (soak_or(500, 5), soak_or(true, false));
        let mut taken = [const { Vec::new() }; 6];
        for _ in 0..rounds {
            for ((_, name, password), taken) in kinds.iter().zip(&mut taken) {
                let start = Instant::now();
                let refused = store.sign_in("192.0.2.1", name, password).await;
                taken.push(start.elapsed());
                ensure!(matches!(refused, Err(Error::WrongPassword)), "{name}: {refused:?}");
                store.clock.advance(Duration::from_secs(10));
            }
        }
        let medians = taken.map(|mut taken| {
            taken.sort_unstable();
            taken[taken.len() / 2]
        });
        let figures = kinds.iter().zip(medians).map(|((kind, ..), median)| format!("{kind} {median:?}"));
        let figures = format!("{engine:?}: medians of {rounds}: {}\n", figures.collect::<Vec<_>>().join(", "));
        std::io::stderr().write_all(figures.as_bytes())?;
        let (least, most) = (medians.iter().min(), medians.iter().max());
        let ratio = most.zip(least).map_or(1.0, |(most, least)| most.as_secs_f64() / least.as_secs_f64());
        ensure!(!is_asserted || ratio <= 1.05, "{figures}");
        Ok(())
    })
    .await;
}
