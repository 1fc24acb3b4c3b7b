//! The rules of `paddock-accounts`, each story on both engines.

mod audit;
mod audit_aggregation;
mod audit_attacks;
mod audit_head_file;
mod audit_lists;
mod audit_retention;
mod bootstrap;
mod cancelled_writes;
mod deletion;
mod expiry;
mod key_protocol;
mod keys;
mod login_throttle;
mod malformed_keys;
mod managed_resources;
mod overrides;
mod races;
mod random_schedules;
mod refresh_tokens;
mod usage;
mod users;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use anyhow::Result;
use paddock_accounts::audit::{AuditFilter, AuditRow, Chain};
use paddock_accounts::clock::{Clock, Time};
use paddock_accounts::context::{Actor, Context};
use paddock_accounts::email::Email;
use paddock_accounts::managed::ManagedBy;
use paddock_accounts::sessions::SessionKey;
use paddock_accounts::sets::Role;
use paddock_accounts::users::{Created, NewUser, User};
use paddock_accounts::{Accounts, OpenOptions, migrate};
use paddock_tests::database::{Database, Engine};

/// A clock that stands until it is moved.
#[derive(Clone)]
struct StoppedClock(Arc<AtomicI64>);

impl StoppedClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).expect("a test's patience"), Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Time {
        Time::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The rules over a database of the test's own.
struct StoreFixture {
    accounts: Accounts,
    clock: StoppedClock,
    database: Database,
}

async fn open(engine: Engine) -> Result<StoreFixture> {
    open_with(engine, |_| ()).await
}

/// The same with other options than the usual ones.
async fn open_with(engine: Engine, adjust: impl FnOnce(&mut OpenOptions)) -> Result<StoreFixture> {
    let database = Database::new(engine).await?;
    let clock = StoppedClock(Arc::new(AtomicI64::new(1_700_000_000_000_000)));
    let accounts = accounts(&database, &clock, adjust).await?;
    Ok(StoreFixture { accounts, clock, database })
}

async fn accounts(
    database: &Database,
    clock: &StoppedClock,
    adjust: impl FnOnce(&mut OpenOptions),
) -> Result<Accounts> {
    let mut options = OpenOptions { max_connections: 8, ..OpenOptions::new(database.url().into()) };
    adjust(&mut options);
    migrate(&options).await?;
    Ok(Accounts::open(&options, chain(), sessions()?, Arc::new(clock.clone())).await?)
}

fn chain() -> Chain {
    Chain::new(&"a signing key of thirty-two bytes".into())
}

fn sessions() -> Result<SessionKey> {
    Ok(SessionKey::new(&"a signing key of thirty-two bytes".into(), "HS256")?)
}

impl StoreFixture {
    /// Ends it as a process ends, and opens the same database again with these options.
    async fn reopen(self, adjust: impl FnOnce(&mut OpenOptions)) -> Result<Self> {
        let Self { accounts: before, clock, database } = self;
        before.close().await;
        drop(before);
        let accounts = accounts(&database, &clock, adjust).await?;
        Ok(Self { accounts, clock, database })
    }

    async fn user(&self, email: &str, roles: &[Role]) -> Result<User> {
        let mut new = NewUser::new(Email::parse(email)?);
        new.roles = roles.iter().copied().collect();
        match self.accounts.create_user(&context(), new).await? {
            Created::New(user) => Ok(user),
            Created::Existing(user) => anyhow::bail!("{} was there already", user.email),
        }
    }

    /// The types of all events, oldest first.
    async fn events(&self) -> Result<Vec<String>> {
        let mut rows = self.accounts.audit(&AuditFilter::default(), 500, AuditRow::owned).await?;
        rows.reverse();
        Ok(rows.into_iter().map(|row| row.event_type).collect())
    }
}

fn context() -> Context {
    Context { actor: Actor::System("test"), ip: None, user_agent: None, request_id: None }
}

/// An object of that name, in one of its lives.
fn object(name: &str, life: &str) -> ManagedBy {
    ManagedBy {
        cluster: "0b5e".to_owned(),
        namespace: "team-a".to_owned(),
        name: name.to_owned(),
        uid: format!("{name}-{life}"),
    }
}

/// A small generator, so that a schedule that fails can be run again from its number.
struct SeededRng(u64);

impl SeededRng {
    fn new(number: u64) -> Self {
        Self(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
