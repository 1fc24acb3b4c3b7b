//! The rules of `paddock-accounts` on both engines.

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
mod pulls;
mod races;
mod random_schedules;
mod refresh_tokens;
mod schema_changes;
mod token_windows;
mod usage;
mod users;

use std::sync::Arc;

use anyhow::Result;
use paddock_accounts::{
    Accounts, UserId,
    managed_resources::{DesiredKey, DesiredUser},
    passwords::PasswordPolicy,
    sessions::SessionKey,
    types::{Email, Limits, ManagedBy, Priority, Role, Scopes},
    users::{Created, NewUser, User, UserSearch},
};
use paddock_store::{
    OpenOptions,
    audit::{AuditFilter, AuditRow, Chain},
    clock::Timestamp,
    context::{Actor, AuditContext},
    migrate,
};
use paddock_tests::{
    database::{Database, Engine},
    stopped_clock::StoppedClock,
};

/// Accounts over the test's own database, and their clock.
struct StoreFixture {
    accounts: Accounts,
    clock: StoppedClock,
    database: Database,
}

/// Selects the users with this text.
fn matching(text: &str) -> UserSearch {
    UserSearch { text: Some(text.to_owned()), ..UserSearch::default() }
}

async fn open(engine: Engine) -> Result<StoreFixture> {
    open_with(engine, |_| ()).await
}

/// The same with other options.
async fn open_with(engine: Engine, adjust: impl FnOnce(&mut OpenOptions)) -> Result<StoreFixture> {
    let database = Database::new(engine).await?;
    let clock = StoppedClock::at(Timestamp::from_micros(1_700_000_000_000_000));
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
    Ok(Accounts::open(&options, chain(), sessions()?, PasswordPolicy::default(), Arc::new(clock.clone())).await?)
}

fn chain() -> Chain {
    Chain::new(&"a signing key of thirty-two bytes".into())
}

fn sessions() -> Result<SessionKey> {
    Ok(SessionKey::new(&"a signing key of thirty-two bytes".into(), "HS256")?)
}

impl StoreFixture {
    /// Closes the accounts as the end of a process does, and opens the same database again with
    /// these options.
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
        match self.accounts.users().create(&context(), new).await? {
            Created::New(user) => Ok(user),
            Created::Existing(user) => anyhow::bail!("{} existed already", user.email),
        }
    }

    /// The types of all events, oldest first.
    async fn events(&self) -> Result<Vec<String>> {
        let mut rows = self.accounts.audit().list(&AuditFilter::default(), 500, AuditRow::owned).await?;
        rows.reverse();
        Ok(rows.into_iter().map(|row| row.event_type).collect())
    }
}

fn context() -> AuditContext {
    AuditContext { actor: Actor::System("test"), ip: None, user_agent: None, request_id: None }
}

/// A Kubernetes object of this name. `uid` distinguishes objects that follow each other.
fn object(name: &str, uid: &str) -> ManagedBy {
    ManagedBy {
        cluster: "0b5e".to_owned(),
        namespace: "team-a".to_owned(),
        name: name.to_owned(),
        uid: format!("{name}-{uid}"),
    }
}

/// Statements that make the database refuse every audit event, and statements that undo that.
fn refuse_audit_events(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Postgres => (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse()",
            "DROP TRIGGER refuse ON audit_logs",
        ),
        Engine::Sqlite => (
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_logs BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER refuse",
        ),
    }
}

/// The key `ci` of this user, as an `ApiKey` describes it.
fn desired_key(user_id: UserId) -> DesiredKey {
    DesiredKey {
        user_id,
        label: "ci".into(),
        scopes: Scopes::default_for_keys(),
        models: None,
        priority: Priority::default(),
        limits: Limits::default(),
        expires_at: None,
    }
}

/// An active user with this address and the role `user`, as an `ApiUser` describes it.
fn desired_user(email: &str) -> DesiredUser {
    DesiredUser {
        email: Email::parse(email).expect("an address"),
        display_name: None,
        roles: [Role::User].into_iter().collect(),
        active: true,
        models: None,
        limits: Limits::default(),
    }
}
