//! The `paddock` executable, started as a user starts it: with a command and an environment.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::process::{Process, Signal, free_port, run};

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// All scopes of a key.
pub const SCOPES: [&str; 11] = [
    "chat",
    "generate",
    "embed",
    "models:read",
    "models:write",
    "users:read",
    "users:write",
    "keys:read",
    "keys:write",
    "audit:read",
    "usage:read",
];

/// The path of the executable: `PADDOCK_BIN`, or the one that cargo has built beside the current
/// executable.
///
/// Prints a warning when the executable is older than its sources.
///
/// Errors: the executable has not been built.
pub fn executable() -> Result<PathBuf> {
    static WARN: Once = Once::new();
    if let Some(path) = std::env::var_os("PADDOCK_BIN") {
        return Ok(path.into());
    }
    let path = built("paddock")?;
    WARN.call_once(|| {
        if let Ok(Some(newer)) = newer_source(&path) {
            let warning = format!(
                "warning: {} is older than {newer}; run `cargo build --workspace --bins --tests`\n",
                path.display()
            );
            let _ = std::io::stderr().write_all(warning.as_bytes());
        }
    });
    Ok(path)
}

/// An executable of this workspace that cargo has built beside the current one.
///
/// Errors: it has not been built.
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().find(|folder| folder.join(name).with_extension("d").exists());
    folder
        .map(|folder| folder.join(name))
        .filter(|path| path.exists())
        .with_context(|| format!("the executable `{name}` is not built; run `cargo build --workspace --bins --tests`"))
}

/// A source that is newer than the executable, from the list that cargo leaves beside it.
fn newer_source(executable: &Path) -> Result<Option<String>> {
    let built = executable.metadata()?.modified()?;
    let list = std::fs::read_to_string(executable.with_extension("d"))?;
    let newer = list
        .split_whitespace()
        .skip(1)
        .find(|source| Path::new(source).metadata().and_then(|m| m.modified()).is_ok_and(|changed| changed > built));
    Ok(newer.map(str::to_owned))
}

/// How to start a Paddock.
#[derive(Clone, Debug)]
pub struct Launch {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    prefix: Vec<String>,
}

impl Launch {
    /// `paddock ARGUMENTS` on this database and on free ports of 127.0.0.1. It inherits only `PATH`
    /// and `HOME`.
    pub fn new(arguments: &[&str], database_url: &str) -> Result<Self> {
        let launch = Self {
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            environment: BTreeMap::new(),
            prefix: Vec::new(),
        };
        Ok(launch
            .env("ENVIRONMENT", "local")
            // Without the contexts of the developer who runs the tests.
            .env("XDG_CONFIG_HOME", "/nowhere")
            // On SQLite the keys would be created beside the file. On PostgreSQL they must be set.
            .env("JWT_SECRET", "a secret of tests, which is long enough")
            .env("AUDIT_SIGNING_KEY", "another secret of tests, long enough")
            // The defaults are too low for most tests.
            .env("RATE_LIMIT_PER_MINUTE", "1000000")
            .env("AUTH_FAILURES_PER_MINUTE", "1000000")
            .env("DATABASE_URL", database_url)
            .env("LISTEN_ADDR", &format!("127.0.0.1:{}", free_port()?))
            .env("METRICS_ADDR", &format!("127.0.0.1:{}", free_port()?)))
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the upstream Ollama.
    #[must_use]
    pub fn ollama(self, url: &str) -> Self {
        self.env("OLLAMA_BASE_URL", url)
    }

    /// Starts it through this command, such as `taskset -c 1`.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &[String]) -> Self {
        self.prefix = prefix.to_vec();
        self
    }

    /// The command of this launch, with other arguments.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let executable = executable()?;
        let mut command = match self.prefix.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(executable);
                command
            }
            None => Command::new(executable),
        };
        command.args(arguments).env_clear().envs(&self.environment);
        command.envs(["PATH", "HOME"].iter().filter_map(|&name| Some((name, std::env::var_os(name)?))));
        Ok(command)
    }

    /// Migrates and seeds the database, and returns the first administrator.
    pub fn seed(&self) -> Result<Bootstrap> {
        run(&mut self.command(&["migrate"])?)?;
        Bootstrap::from_output(&run(&mut self.command(&["seed"])?)?)
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Result<Paddock> {
        let paddock = self.spawn()?;
        paddock
            .process
            .wait_until_ready(START_TIMEOUT, async || {
                // The metrics listener answers for API and operator alike.
                let answer = paddock.client.get(format!("{}/readyz", paddock.metrics_url)).send().await?;
                let status = answer.status();
                ensure!(status.is_success(), "/readyz: {status} {}", answer.text().await?);
                Ok(())
            })
            .await?;
        Ok(paddock)
    }

    /// Starts it without waiting.
    pub fn spawn(self) -> Result<Paddock> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let address = |name: &str| self.environment.get(name).cloned().unwrap_or_default();
        Ok(Paddock {
            process: Process::start("paddock", self.command(&arguments)?, Signal::Term)?,
            url: format!("http://{}", address("LISTEN_ADDR")),
            metrics_url: format!("http://{}", address("METRICS_ADDR")),
            client: Client::new(),
        })
    }
}

/// The first administrator, whose secrets seeding prints once.
#[derive(Clone)]
pub struct Bootstrap {
    /// Its e-mail.
    pub email: String,
    /// Its password.
    pub password: String,
    /// Its API key.
    pub key: String,
}

impl Bootstrap {
    /// Reads the `BOOTSTRAP_ADMIN_...=` lines that seeding prints.
    pub fn from_output(output: &str) -> Result<Self> {
        let value = |name: &str| {
            let prefix = format!("BOOTSTRAP_ADMIN_{name}=");
            let line = output.lines().find_map(|line| line.trim().strip_prefix(&prefix));
            line.map(str::to_owned).with_context(|| format!("no {prefix} in {output:?}"))
        };
        Ok(Self { email: value("EMAIL")?, password: value("PASSWORD")?, key: value("API_KEY")? })
    }
}

/// A running Paddock.
pub struct Paddock {
    process: Process,
    url: String,
    metrics_url: String,
    client: Client,
}

impl Paddock {
    /// A migrated, seeded `paddock api` in front of this Ollama, and a caller with the
    /// administrator's key.
    pub async fn api(database_url: &str, ollama_url: &str) -> Result<(Self, Caller)> {
        Self::seeded(Launch::new(&["api"], database_url)?.ollama(ollama_url)).await
    }

    /// The same for another launch.
    pub async fn seeded(launch: Launch) -> Result<(Self, Caller)> {
        let admin = launch.seed()?;
        let paddock = launch.start().await?;
        let caller = paddock.caller(&admin.key);
        Ok((paddock, caller))
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The base URL of its metrics listener.
    #[must_use]
    pub fn metrics_url(&self) -> &str {
        &self.metrics_url
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A caller with this API key.
    #[must_use]
    pub fn caller(&self, key: &str) -> Caller {
        Caller { client: self.client.clone(), url: self.url.clone(), key: key.to_owned() }
    }
}

/// A client of Paddock with an API key.
#[derive(Clone)]
pub struct Caller {
    client: Client,
    url: String,
    key: String,
}

impl Caller {
    /// The key in plain text.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A GET with the key.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// A POST of JSON with the key.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body)
    }

    /// A PATCH of JSON with the key.
    pub fn patch(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.patch(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body)
    }

    /// A DELETE with the key.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// A request with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// As administrator: creates a user with these fields and, unless given, a new e-mail. Returns
    /// the user's id.
    pub async fn create_user(&self, mut fields: Value) -> Result<i64> {
        let email = format!("user-{}@example.com", uuid::Uuid::now_v7().simple());
        if fields["email"].is_null() {
            fields["email"] = email.into();
        }
        let user = fetch_json(self.post("/users", &fields)).await?;
        user["id"].as_i64().with_context(|| user.to_string())
    }

    /// As administrator: creates a key of the user with these fields. Returns its id and a caller
    /// with it.
    pub async fn create_key(&self, user_id: i64, mut fields: Value) -> Result<(i64, Self)> {
        fields["user_id"] = user_id.into();
        let issued = fetch_json(self.post("/credentials", &fields)).await?;
        let key = issued["plaintext"].as_str().context("a key")?.to_owned();
        let id = issued["credential_id"].as_i64().context("its id")?;
        Ok((id, Self { key, ..self.clone() }))
    }

    /// As administrator: creates a user with the role `user`. Returns a caller with a key of the
    /// default scopes.
    pub async fn create_workload(&self) -> Result<Self> {
        let user = self.create_user(json!({"roles": ["user"]})).await?;
        Ok(self.create_key(user, json!({})).await?.1)
    }
}

/// Sends a request and returns the JSON of its answer.
///
/// Errors: the status is not 2xx; with the body.
pub async fn fetch_json(request: RequestBuilder) -> Result<Value> {
    let answer = request.send().await?;
    let (status, url) = (answer.status(), answer.url().clone());
    let body = answer.text().await?;
    if !status.is_success() {
        bail!("{url}: {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("{url}: {body}"))
}
