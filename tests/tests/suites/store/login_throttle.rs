//! Who fails to sign in waits, and nobody else does.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::future::join_all;
use paddock_accounts::clock::{Clock, Time};
use paddock_accounts::context::{Actor, Context};
use paddock_accounts::seed::{ADMIN_EMAIL, Seed};
use paddock_accounts::sets::Role;
use paddock_accounts::users::UserPatch;
use paddock_accounts::{Accounts, Error, OpenOptions};
use paddock_tests::database::Engine;
use paddock_tests::story::{soak_or, story};
use rstest::rstest;

use super::{StoreFixture, chain, open, sessions};

const PASSWORD: &str = "violet harbour tangle 93";
/// How many may be judged before the first has failed.
const BURST: usize = 10;

fn from(ip: &str) -> Context {
    let ip: IpAddr = ip.parse().expect("an address");
    Context { actor: Actor::Anonymous, ip: Some(ip), user_agent: None, request_id: None }
}

async fn seeded(engine: Engine) -> Result<StoreFixture> {
    let store = open(engine).await?;
    store.accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
    Ok(store)
}

impl StoreFixture {
    async fn sign_in(&self, ip: &str, username: &str, password: &str) -> Result<(), Error> {
        self.accounts.login(&from(ip), username, password.into()).await.map(|_| ())
    }

    /// For how long a sign-in is refused unjudged.
    async fn locked_for(&self, ip: &str, username: &str, password: &str) -> Result<Duration> {
        match self.sign_in(ip, username, password).await {
            Err(Error::LoginLocked { retry_after }) => Ok(retry_after),
            other => bail!("{other:?}"),
        }
    }

    async fn fails(&self, ip: &str, username: &str) -> Result<()> {
        let refused = self.sign_in(ip, username, "wrong").await;
        ensure!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_failure_makes_the_next_wait_longer(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        // One that is there, one that is not, and what is no address: nobody can tell them apart.
        for (ip, name) in [("192.0.2.1", ADMIN_EMAIL), ("192.0.2.2", "nobody@example.com"), ("192.0.2.3", "no address")]
        {
            for seconds in [1, 3, 5, 10, 10] {
                store.fails(ip, name).await?;
                let locked = store.locked_for(ip, name, PASSWORD).await?;
                ensure!(locked == Duration::from_secs(seconds), "{name}: {locked:?} instead of {seconds} s");
                store.clock.advance(locked.saturating_sub(Duration::from_millis(1)));
                store.locked_for(ip, name, PASSWORD).await?;
                store.clock.advance(Duration::from_millis(1));
            }
        }
        // Each lock is told once, however often it refuses: the first of an account at once, the others in a count.
        let told = async |store: &StoreFixture| store.times_of("login_rate_limited").await;
        ensure!(told(&store).await? == [1, 1, 1]);
        let store = store.reopen(|_| ()).await?;
        let locks = told(&store).await?;
        ensure!(locks.len() == 6 && locks.iter().sum::<u64>() == 15, "{locks:?}");

        // A success forgets all before it.
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        store.fails("192.0.2.1", ADMIN_EMAIL).await?;
        ensure!(store.locked_for("192.0.2.1", ADMIN_EMAIL, PASSWORD).await? == Duration::from_secs(1));
        // So does time, and the sweeper.
        store.clock.advance(Duration::from_hours(1) + Duration::from_secs(1));
        store.fails("192.0.2.3", "no address").await?;
        ensure!(store.locked_for("192.0.2.3", "no address", PASSWORD).await? == Duration::from_secs(1));
        let rows = async || store.database.execute("UPDATE login_attempts SET failures = failures").await;
        ensure!(rows().await? == 3);
        store.accounts.sweep_sessions().await?;
        ensure!(rows().await? == 1, "what is young stays");
        store.clock.advance(Duration::from_hours(2));
        store.accounts.sweep_sessions().await?;
        ensure!(rows().await? == 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn other_addresses_and_other_accounts_do_not_wait(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        store.fails("2001:db8:1:2::1", ADMIN_EMAIL).await?;
        // The same network, and another spelling of the same account.
        store.locked_for("2001:db8:1:2:ffff::9", ADMIN_EMAIL, PASSWORD).await?;
        store.locked_for("2001:db8:1:2::1", "ADMIN@Example.com ", PASSWORD).await?;
        // Others.
        store.sign_in("2001:db8:1:3::1", ADMIN_EMAIL, PASSWORD).await?;
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        store.fails("2001:db8:1:2::1", "other@example.com").await?;
        // What was cleared elsewhere is locked here all the same.
        store.locked_for("2001:db8:1:2::1", ADMIN_EMAIL, PASSWORD).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses_at_two_replicas_stay_under_the_limit() {
    story(async {
        let store = seeded(Engine::Postgres).await?;
        let options = OpenOptions { max_connections: 8, ..OpenOptions::new(store.database.url().into()) };
        let other = Accounts::open(&options, chain(), sessions()?, Arc::new(store.clock.clone())).await?;
        let attacker = from("192.0.2.66");
        for round in 0..3 {
            let guesses = (0..200).map(|i| {
                let replica = if i % 2 == 0 { &store.accounts } else { &other };
                replica.login(&attacker, ADMIN_EMAIL, format!("guess {i}").into())
            });
            let owner = store.sign_in("198.51.100.7", ADMIN_EMAIL, PASSWORD);
            let (outcomes, owner) = tokio::join!(join_all(guesses), owner);
            let mut judged = 0;
            for outcome in outcomes {
                match outcome {
                    Err(Error::WrongPassword) => judged += 1,
                    Err(Error::LoginLocked { .. } | Error::Busy { .. }) => {}
                    other => bail!("{other:?}"),
                }
            }
            // At first as many as may be under way at once; from then on one for each lock.
            let limit = if round == 0 { BURST } else { 1 };
            ensure!((1..=limit).contains(&judged), "round {round}: {judged} guesses were judged");
            ensure!(owner.is_ok(), "round {round}: the owner was kept out: {owner:?}");
            store.clock.advance(Duration::from_secs(10));
        }
        Ok(())
    })
    .await;
}

/// A clock that whoever asks later is told an earlier time by, as of many at once one may look and then be overtaken.
struct Overtaken(AtomicI64);

impl Clock for Overtaken {
    fn now(&self) -> Time {
        Time::from_micros(self.0.fetch_sub(1, Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_overtake_each_other_sign_in_at_once() {
    story(async {
        let store = seeded(Engine::Postgres).await?;
        let options = OpenOptions { max_connections: 8, ..OpenOptions::new(store.database.url().into()) };
        let clock = Overtaken(AtomicI64::new(store.accounts.now().micros()));
        let other = Accounts::open(&options, chain(), sessions()?, Arc::new(clock)).await?;
        let here = from("192.0.2.1");
        let windows = (0..8).map(|_| other.login(&here, ADMIN_EMAIL, PASSWORD.into()));
        for window in join_all(windows).await {
            window?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn many_windows_of_one_user_sign_in_at_once(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        for _ in 0..3 {
            let windows = (0..8).map(|_| store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD));
            for window in join_all(windows).await {
                window?;
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
        // Of the same password, at m=8192.
        let cheap = cheap_hash(PASSWORD)?;
        store.database.execute(&format!("UPDATE passwords SET hash = '{cheap}'")).await?;
        let hash = async || -> Result<String> {
            Ok(store.database.rows::<(String,)>("SELECT hash FROM passwords").await?.remove(0).0)
        };
        store.fails("192.0.2.1", ADMIN_EMAIL).await?;
        ensure!(hash().await? == cheap, "a wrong password changes nothing");
        store.clock.advance(Duration::from_secs(1));
        let events = store.events().await?.len();
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        let dear = hash().await?;
        ensure!(dear.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{dear}");
        ensure!(store.events().await?[events..] == ["login_success"], "one event for both");
        store.sign_in("192.0.2.1", ADMIN_EMAIL, PASSWORD).await?;
        ensure!(hash().await? == dear, "once is enough");
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

/// Whatever is wrong with a sign-in, it takes as long: one that skipped Argon2 would take a tenth. `make soak` looks closer.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_failure_takes_the_same_time(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        store.user("nopassword@example.com", &[Role::User]).await?;
        let disabled = store.user("disabled@example.com", &[Role::User]).await?.id;
        store.accounts.set_password(&from("192.0.2.1"), disabled, PASSWORD.into()).await?;
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.update_user(&from("192.0.2.1"), disabled, off, Ok(())).await?;
        // Not the account of another kind: failures of one account within a minute are counted in one record.
        let long_password = store.user("long@example.com", &[Role::User]).await?.id;
        store.accounts.set_password(&from("192.0.2.1"), long_password, PASSWORD.into()).await?;
        let long = "x".repeat(5_000);
        let kinds = [
            ("unknown", "nobody@example.com", PASSWORD),
            ("wrong", ADMIN_EMAIL, "violet harbour tangle 94"),
            ("disabled", "disabled@example.com", PASSWORD),
            ("password-less", "nopassword@example.com", PASSWORD),
            ("over-long", "long@example.com", &long),
            ("no address", "no address", PASSWORD),
        ];
        // What else runs beside a short run is in its times: only the long one judges them.
        let (rounds, judged) = (soak_or(500, 5), soak_or(true, false));
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
        let told = kinds.iter().zip(medians).map(|((kind, ..), median)| format!("{kind} {median:?}"));
        let told = format!("{engine:?}: medians of {rounds}: {}\n", told.collect::<Vec<_>>().join(", "));
        std::io::stderr().write_all(told.as_bytes())?;
        let (least, most) = (medians.iter().min(), medians.iter().max());
        let ratio = most.zip(least).map_or(1.0, |(most, least)| most.as_secs_f64() / least.as_secs_f64());
        ensure!(!judged || ratio <= 1.05, "{told}");
        Ok(())
    })
    .await;
}
