//! The management API as a client sees it. Every answer is checked against the OpenAPI document that the server serves.

mod audit;
mod auth;
mod authorization;
mod away;
mod bad_input;
mod bulk;
mod connections;
mod contract;
mod cors;
mod credentials;
mod crowding;
mod document;
mod endings;
mod forgery;
mod guessing;
mod host;
mod limits;
mod minting;
mod mutations;
mod passwords;
mod problems;
mod proxies;
mod replicas;
mod sessions;
mod shutdown;
mod usage;
mod users;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::{Contract, Request};
use paddock_accounts::{
    Accounts,
    bootstrap::{ADMIN_EMAIL, Seed},
    passwords::PasswordPolicy,
    sessions::SessionKey,
};
use paddock_api::Config;
use paddock_store::{OpenError, OpenOptions, audit::Chain, clock::SystemClock, migrate};
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::FakeOllama;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MODEL: &str = "smollm2:135m";
/// More requests a minute than any story makes.
const MANY: u64 = 1_000_000;
const PASSWORD: &str = "correct horse battery staple";
const SECRET: &str = "a signing key of thirty-two bytes";

/// The API, served by this process over a database of the test's own, and its first admin's key.
struct Api {
    contract: Contract,
    admin: String,
    fake: FakeOllama,
    stop: CancellationToken,
    served: JoinHandle<Result<(), paddock_api::Error>>,
    /// Kept for as long as it is served.
    database: Option<Database>,
}

impl Api {
    async fn start(engine: Engine) -> Result<Self> {
        let database = Box::pin(Database::new(engine)).await?;
        let url = database.url().to_owned();
        let mut api = Self::on(&url, Duration::from_secs(5)).await?;
        api.database = Some(database);
        Ok(api)
    }

    async fn on(database_url: &str, drain: Duration) -> Result<Self> {
        // Large, and part of every story.
        Box::pin(Self::serve(database_url, |config| Config { drain, ..config })).await
    }

    async fn serve(database_url: &str, configure: impl FnOnce(Config) -> Config) -> Result<Self> {
        let accounts = accounts(database_url).await?;
        let seeded = accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
        let admin = seeded.key.context("a key")?.plaintext().expose_secret().to_owned();

        Self::over(accounts, admin, configure).await
    }

    /// Another one over the same database, with an Ollama of its own.
    async fn replica(&self, database_url: &str) -> Result<Self> {
        let accounts = accounts(database_url).await?;
        Box::pin(Self::over(accounts, self.admin.clone(), |config| config)).await
    }

    async fn over(accounts: Accounts, admin: String, configure: impl FnOnce(Config) -> Config) -> Result<Self> {
        let fake = FakeOllama::start(&[MODEL]).await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let config =
            configure(Config { requests_per_minute: MANY, auth_failures_per_minute: MANY, ..Config::new(fake.url()) });
        let served = tokio::spawn(paddock_api::serve(listener, config, accounts, stop.clone()));
        let contract = Contract::of(&url).await?;
        Ok(Self { contract, admin, fake, stop, served, database: None })
    }

    /// A request by the admin's key.
    fn admin(&self, operation: &str, id: i64) -> Request<'_> {
        self.by(&self.admin, operation, id)
    }

    /// A request by this credential; an operation is `GET /users/{id}`, and `id` is ignored where the path has none.
    fn by(&self, credential: &str, operation: &str, id: i64) -> Request<'_> {
        self.anonymous(operation, id).header("authorization", &format!("Bearer {credential}"))
    }

    fn anonymous(&self, operation: &str, id: i64) -> Request<'_> {
        self.contract.request(operation, id)
    }

    /// A new user with these fields beside its address.
    async fn user(&self, mut fields: Value) -> Result<i64> {
        let address = format!("user-{}@example.com", uuid::Uuid::now_v7().simple());
        fields["email"] = address.into();
        self.admin("POST /users", 0).json(&fields).expect(201).await?.id("id")
    }

    /// A new key of a user with these fields: its id, and its text.
    async fn key(&self, user: i64, mut fields: Value) -> Result<(i64, String)> {
        fields["user_id"] = user.into();
        let issued = self.admin("POST /credentials", 0).json(&fields).expect(201).await?;
        Ok((issued.id("credential_id")?, issued.text("plaintext")?))
    }

    /// Has an object own a row, past every rule of the API's.
    async fn manage(&self, table: &str, id: i64) -> Result<()> {
        let owned = format!(
            "UPDATE {table} SET managed_cluster = 'c', managed_namespace = 'team-a', managed_name = 'ci', managed_uid = 'u' \
             WHERE id = {id}"
        );
        self.database.as_ref().context("a database")?.execute(&owned).await?;
        Ok(())
    }

    /// The key of a new user with the role `user`.
    async fn plain_user(&self) -> Result<(i64, String)> {
        let user = self.user(json!({"roles": ["user"]})).await?;
        Ok((user, self.key(user, json!({})).await?.1))
    }

    /// The access token of a new session of the admin.
    async fn session(&self) -> Result<String> {
        let credentials = json!({"username": ADMIN_EMAIL, "password": PASSWORD});
        self.anonymous("POST /auth/login", 0).json(&credentials).expect(200).await?.text("access_token")
    }

    /// Has every lock of sign-ins be over.
    async fn unlock(&self) -> Result<()> {
        self.database.as_ref().context("a database")?.execute("DELETE FROM login_attempts").await?;
        Ok(())
    }

    /// The types of the newest events, newest first.
    async fn events(&self, limit: usize) -> Result<Vec<String>> {
        let query = [("limit", limit.to_string())];
        let events = self.admin("GET /audit", 0).query(&query).expect(200).await?;
        let events = events.json.as_array().context("a list")?;
        Ok(events.iter().filter_map(|event| Some(event["event_type"].as_str()?.to_owned())).collect())
    }
}

/// The rules over a database, which is migrated first.
async fn accounts(database_url: &str) -> Result<Accounts> {
    let options = OpenOptions { max_connections: 8, ..OpenOptions::new(database_url.into()) };
    migrate(&options).await?;
    // A process that another story starts holds every lock of this one until it runs an executable of its own.
    eventually("the lock of the file", Duration::from_secs(5), async || {
        let (chain, sessions) = (Chain::new(&SECRET.into()), SessionKey::new(&SECRET.into(), "HS256")?);
        match Accounts::open(&options, chain, sessions, PasswordPolicy::default(), Arc::new(SystemClock)).await {
            Err(locked @ OpenError::Locked(_)) => Err(anyhow::Error::from(locked)),
            opened => Ok(opened),
        }
    })
    .await?
    .map_err(Into::into)
}

/// The same story on both engines.
macro_rules! on_both_engines {
    ($($story:ident,)+) => {
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    paddock_tests::story::story(super::$story(paddock_tests::database::Engine::Postgres)).await;
                }
            )+
        }
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    paddock_tests::story::story(super::$story(paddock_tests::database::Engine::Sqlite)).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_engines;
