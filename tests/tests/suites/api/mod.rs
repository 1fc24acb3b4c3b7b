//! The management API over HTTP. Every answer is checked against the OpenAPI document that the
//! server serves.

mod audit;
mod audit_filters;
mod auth;
mod auth_failures;
mod authorization;
mod bad_input;
mod bulk_revocation;
mod connections;
mod contract;
mod cors;
mod credential_changes;
mod credential_lists;
mod credentials;
mod database_down;
mod forgery;
mod key_ends;
mod key_issuance;
mod manifests;
mod models;
mod mutations;
mod ollama_scripts;
mod openapi_document;
mod own_usage;
mod passwords;
mod per_address_limits;
mod problems;
mod rate_limits;
mod replicas;
mod request_heads;
mod sessions;
mod shutdown;
mod stream_revocation;
mod trusted_proxies;
mod ui;
mod usage;
mod usage_series;
mod user_input;
mod user_lists;
mod user_permissions;
mod users;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use contract::{ApiClient, Contract};
use http::StatusCode;
use paddock_accounts::{
    Accounts,
    bootstrap::{ADMIN_EMAIL, Seed},
    passwords::PasswordPolicy,
    sessions::SessionKey,
};
use paddock_api::Config;
use paddock_ollama::{Backend, BackendSource};
use paddock_store::{
    OpenError, OpenOptions,
    audit::Chain,
    clock::{Clock, SystemClock},
    migrate,
};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{FakeOllama, Script},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const MODEL: &str = "smollm2:135m";
/// A rate limit that no story reaches.
const NO_LIMIT: u64 = 1_000_000;
/// The registry that models may be pulled from.
const REGISTRY: &str = "registry.ollama.ai";
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const PASSWORD: &str = "correct horse battery staple";
const SECRET: &str = "a signing key of thirty-two bytes";

/// The API, served by this process over the test's own database, and its first admin's key.
struct Api {
    contract: Contract,
    admin: String,
    fake: FakeOllama,
    stop: CancellationToken,
    served: JoinHandle<Result<(), paddock_api::Error>>,
    /// `None` when the caller keeps the database alive.
    database: Option<Database>,
}

impl Api {
    /// The API with the usual configuration over a new database.
    async fn start(engine: Engine) -> Result<Self> {
        Self::start_with(engine, |config| config).await
    }

    /// The API with another configuration over a new database.
    async fn start_with(engine: Engine, configure: impl FnOnce(Config) -> Config) -> Result<Self> {
        let database = Box::pin(Database::new(engine)).await?;
        let url = database.url().to_owned();
        // Boxed, because the future is large and part of every story.
        let mut api = Box::pin(Self::serve(&url, configure)).await?;
        api.database = Some(database);
        Ok(api)
    }

    /// The API over a database that the caller keeps alive.
    async fn over(database_url: &str) -> Result<Self> {
        Box::pin(Self::serve(database_url, |config| config)).await
    }

    async fn serve(database_url: &str, configure: impl FnOnce(Config) -> Config) -> Result<Self> {
        let accounts = accounts(database_url).await?;
        let seeded = accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
        let admin = seeded.key.context("a key")?.plaintext().expose_secret().to_owned();
        Self::serve_accounts(accounts, admin, configure).await
    }

    /// A second replica over the same database, with its own Ollama.
    async fn replica(&self, database_url: &str) -> Result<Self> {
        let accounts = accounts(database_url).await?;
        Box::pin(Self::serve_accounts(accounts, self.admin.clone(), |config| config)).await
    }

    async fn serve_accounts(
        accounts: Accounts,
        admin: String,
        configure: impl FnOnce(Config) -> Config,
    ) -> Result<Self> {
        let fake = FakeOllama::start(&[MODEL]).await?;
        fake.script("/api/delete", Script::json(StatusCode::OK, &Value::Null));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let config = Config {
            requests_per_minute: NO_LIMIT,
            auth_failures_per_minute: NO_LIMIT,
            drain_timeout: DRAIN_TIMEOUT,
            model_registries: vec![REGISTRY.parse()?],
            // Pulls stay queued, so that nothing changes behind a story.
            max_pulls: 0,
            ..Config::new(BackendSource::list(vec![Backend::new(&fake.url())?]))
        };
        let served = tokio::spawn(paddock_api::serve(listener, configure(config), accounts, stop.clone()));
        let contract = Contract::fetch(&url).await?;
        Ok(Self { contract, admin, fake, stop, served, database: None })
    }

    /// Direct access to the database.
    fn database(&self) -> Result<&Database> {
        self.database.as_ref().context("a database")
    }

    /// A client with the first admin's key.
    fn admin(&self) -> ApiClient<'_> {
        self.by(&self.admin)
    }

    /// A client with this bearer credential.
    fn by(&self, credential: &str) -> ApiClient<'_> {
        self.contract.client(Some(credential))
    }

    /// A client without a credential.
    fn anonymous(&self) -> ApiClient<'_> {
        self.contract.client(None)
    }

    /// Creates a user with these fields and a new address, and returns its id.
    async fn user(&self, mut fields: Value) -> Result<i64> {
        let address = format!("user-{}@example.com", uuid::Uuid::now_v7().simple());
        fields["email"] = address.into();
        self.admin().post("/users").json(&fields).expect(201).await?.id("id")
    }

    /// Creates a key of the user with these fields, and returns its id and its text.
    async fn key(&self, user: i64, mut fields: Value) -> Result<(i64, String)> {
        fields["user_id"] = user.into();
        let issued = self.admin().post("/credentials").json(&fields).expect(201).await?;
        Ok((issued.id("credential_id")?, issued.text("plaintext")?))
    }

    /// Makes a Kubernetes object the owner of a row, directly in the database.
    async fn manage(&self, table: &str, id: i64) -> Result<()> {
        let owned = format!(
            "UPDATE {table} SET managed_cluster = 'c', managed_namespace = 'team-a', managed_name = 'ci', managed_uid = 'u' \
             WHERE id = {id}"
        );
        self.database()?.execute(&owned).await?;
        Ok(())
    }

    /// Creates a user with the role `user`, and returns its id and a key.
    async fn plain_user(&self) -> Result<(i64, String)> {
        let user = self.user(json!({"roles": ["user"]})).await?;
        Ok((user, self.key(user, json!({})).await?.1))
    }

    /// The access token of a new session of the first admin.
    async fn session(&self) -> Result<String> {
        let credentials = json!({"username": ADMIN_EMAIL, "password": PASSWORD});
        self.anonymous().post("/auth/login").json(&credentials).expect(200).await?.text("access_token")
    }

    /// Ends all login locks, directly in the database.
    async fn unlock(&self) -> Result<()> {
        self.database()?.execute("DELETE FROM login_attempts").await?;
        Ok(())
    }

    /// The types of the newest events, newest first.
    async fn events(&self, limit: usize) -> Result<Vec<String>> {
        let query = [("limit", limit.to_string())];
        let events = self.admin().get("/audit").query(&query).expect(200).await?;
        let events = events.json.as_array().context("a list")?;
        Ok(events.iter().filter_map(|event| Some(event["event_type"].as_str()?.to_owned())).collect())
    }
}

/// Opens the accounts of a database, after its migration.
async fn accounts(database_url: &str) -> Result<Accounts> {
    accounts_with_clock(database_url, Arc::new(SystemClock)).await
}

/// The same with another clock.
async fn accounts_with_clock(database_url: &str, clock: Arc<dyn Clock>) -> Result<Accounts> {
    let options = OpenOptions { max_connections: 8, ..OpenOptions::new(database_url.into()) };
    migrate(&options).await?;
    // A child process of another story inherits this process's file locks until it executes its own
    // program.
    eventually("the lock of the file", Duration::from_secs(5), async || {
        let (chain, sessions) = (Chain::new(&SECRET.into()), SessionKey::new(&SECRET.into(), "HS256")?);
        match Accounts::open(&options, chain, sessions, PasswordPolicy::default(), Arc::clone(&clock)).await {
            Err(locked @ OpenError::Locked(_)) => Err(anyhow::Error::from(locked)),
            opened => Ok(opened),
        }
    })
    .await?
    .map_err(Into::into)
}
