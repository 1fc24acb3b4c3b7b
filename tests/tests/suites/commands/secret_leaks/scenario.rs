//! The requests that use each secret before it is looked for.

use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use paddock_tests::{
    fake_ollama::{FakeOllama, Script, chat_lines},
    paddock::{Bootstrap, Caller, Launch, Paddock, fetch_json},
    reaper,
};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    super::{otlp_collector::Collector, successful, successful_json, with_input},
    AUDIT_KEY, BOOTSTRAP_PASSWORD, COLLECTOR_TOKEN, COMPLETION, CONTROL_EMAIL, DATABASE_PASSWORD, FORGED, IN_A_QUERY,
    JWT_SECRET, MALFORMED_KEY, PROMPT, REQUEST_ID, SET_BY_ADMIN, SET_BY_COMMAND, SET_BY_OWNER, SHORT_PASSWORD,
    TYPED_AS_NAME, WRONG_PASSWORD,
    encodings::Secret,
    sinks::{ServedDatabase, Sink},
};

const MODEL: &str = "smollm2:135m";
const ADMIN: &str = "admin@example.com";
/// An admin created with `paddock user create --local`.
const SECOND_ADMIN: &str = "root@example.com";

/// A server with all secrets, and clients of it.
pub(super) struct Scenario {
    pub(super) served: ServedDatabase,
    pub(super) paddock: Paddock,
    pub(super) admin: Caller,
    /// What commands printed before the server started.
    pub(super) sinks: Vec<Sink>,
    /// The answers to requests that failed.
    pub(super) errors: Vec<String>,
    /// The folder with the audit head and the usage spool.
    pub(super) folder: TempDir,
    ollama: FakeOllama,
    secrets: Vec<Secret>,
    revoked_key: String,
}

/// The two secrets of a session.
struct Session {
    token: String,
    cookie: String,
}

impl Session {
    /// The secret part of the access token.
    fn signature(&self) -> Result<&str> {
        Ok(self.token.rsplit_once('.').context("three parts")?.1)
    }

    async fn open(request: RequestBuilder) -> Result<Self> {
        let answer = request.send().await?.error_for_status()?;
        let cookie = answer.headers().get("set-cookie").context("a cookie")?.to_str()?;
        let cookie = cookie.split(';').next().and_then(|pair| pair.strip_prefix("paddock_refresh="));
        let cookie = cookie.context("the cookie of a session")?.to_owned();
        let token: Value = answer.json().await?;
        Ok(Self { token: token["access_token"].as_str().context("a token")?.to_owned(), cookie })
    }
}

/// The part of a key after its public prefix.
fn secret_of(key: &str) -> Result<&str> {
    key.get(15..).with_context(|| format!("no key: {key}"))
}

impl Scenario {
    /// Starts a server whose second admin has a password that `paddock user set-password` set.
    pub(super) async fn open(served: ServedDatabase, collector: &Collector, log_format: &str) -> Result<Self> {
        let ollama = FakeOllama::start(&[MODEL]).await?;
        let lines = chat_lines(MODEL, 3).map(|line| line.replace("w1", COMPLETION));
        ollama.script("/api/chat", Script::ndjson(lines));
        let folder = reaper::scratch_dir("kept")?;
        let launch = Launch::new(&["api"], served.url())?
            .ollama(&ollama.url())
            .env("AUDIT_HEAD_FILE", &folder.path().join("canaries.audit-head").display().to_string())
            .env("USAGE_SPOOL_DIR", &folder.path().join("usage").display().to_string())
            .env("JWT_SECRET", JWT_SECRET)
            .env("AUDIT_SIGNING_KEY", AUDIT_KEY)
            .env("ADMIN_BOOTSTRAP_PASSWORD", BOOTSTRAP_PASSWORD)
            .env("LOG_LEVEL", "trace")
            .env("LOG_FORMAT", log_format)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
            .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{COLLECTOR_TOKEN}"));
        let (bootstrap, made, sinks) = run_commands(&launch)?;
        let paddock = launch.start().await?;
        let admin = paddock.caller(&bootstrap.key);
        let (errors, secrets, revoked_key) = (Vec::new(), Vec::new(), String::new());
        let mut scenario = Self { served, paddock, admin, sinks, errors, folder, ollama, secrets, revoked_key };
        scenario.add_secret("bootstrap key", secret_of(&bootstrap.key)?);
        scenario.add_secret("password made by a command", &made);
        for (name, secret) in [
            ("signing key of tokens", JWT_SECRET),
            ("key of the audit log", AUDIT_KEY),
            ("database's password", DATABASE_PASSWORD),
            ("collector's token", COLLECTOR_TOKEN),
            ("bootstrap password", BOOTSTRAP_PASSWORD),
            ("password set by a command", SET_BY_COMMAND),
            ("password set by an admin", SET_BY_ADMIN),
            ("password set by its owner", SET_BY_OWNER),
            ("wrong password", WRONG_PASSWORD),
            ("refused password", SHORT_PASSWORD),
            ("password typed as a name", TYPED_AS_NAME),
            ("malformed key", MALFORMED_KEY),
            ("forged key", FORGED),
            ("password in a query", IN_A_QUERY),
            ("prompt", PROMPT),
            ("completion", COMPLETION),
        ] {
            scenario.add_secret(name, secret);
        }
        Ok(scenario)
    }

    fn add_secret(&mut self, name: &'static str, secret: &str) {
        self.secrets.push(Secret::new(name, secret));
    }

    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// The requests that Ollama received.
    pub(super) fn ollama_sink(&self) -> Result<Sink> {
        let sent: Vec<_> = self
            .ollama
            .inference_requests()
            .iter()
            .map(|request| format!("{:?} {:?}", request.headers, request.body))
            .collect();
        Sink::new("the requests to Ollama", sent.concat(), PROMPT)
    }

    fn login(&self, name: &str, password: &str) -> RequestBuilder {
        self.admin.post("/auth/login", &json!({"username": name, "password": password}))
    }

    fn add_session(&mut self, session: &Session) -> Result<()> {
        self.add_secret("access token", session.signature()?);
        self.add_secret("cookie", &session.cookie);
        Ok(())
    }

    pub(super) async fn use_successfully(&mut self) -> Result<()> {
        let user = self.admin.create_user(json!({"email": CONTROL_EMAIL, "roles": ["user"]})).await?;
        let (id, caller) = self.admin.create_key(user, json!({"label": "canary"})).await?;
        self.add_secret("issued key", secret_of(caller.key())?);
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]});
        let chatted = caller.post("/api/chat", &chat).send().await?.error_for_status()?.text().await?;
        ensure!(chatted.contains(COMPLETION), "{chatted}");
        let rotated = fetch_json(self.admin.post(&format!("/credentials/{id}/rotate"), &json!({}))).await?;
        let rotated = rotated["plaintext"].as_str().context("a key")?.to_owned();
        self.add_secret("rotated key", secret_of(&rotated)?);
        fetch_json(self.paddock.caller(&rotated).get("/me")).await?;
        let (id, revoked) = self.admin.create_key(user, json!({"label": "revoked"})).await?;
        fetch_json(revoked.get("/me")).await?;
        self.admin.post(&format!("/credentials/{id}/revoke"), &Value::Null).send().await?.error_for_status()?;
        self.add_secret("revoked key", secret_of(revoked.key())?);
        revoked.key().clone_into(&mut self.revoked_key);

        let admin = Session::open(self.login(ADMIN, BOOTSTRAP_PASSWORD)).await?;
        assert_signature(&admin.token)?;
        self.add_session(&admin)?;
        let set = self
            .paddock
            .caller(&admin.token)
            .post(&format!("/users/{user}/password"), &json!({"password": SET_BY_ADMIN}));
        set.send().await?.error_for_status()?;
        let own = Session::open(self.login(CONTROL_EMAIL, SET_BY_ADMIN)).await?;
        self.add_session(&own)?;
        let change = json!({"current_password": SET_BY_ADMIN, "new_password": SET_BY_OWNER});
        self.paddock.caller(&own.token).post("/me/password", &change).send().await?.error_for_status()?;
        for (name, password) in [(CONTROL_EMAIL, SET_BY_OWNER), (SECOND_ADMIN, SET_BY_COMMAND)] {
            let session = Session::open(self.login(name, password)).await?;
            let cookie = format!("paddock_refresh={}", session.cookie);
            let next = Session::open(self.admin.post("/auth/refresh", &Value::Null).header("cookie", cookie)).await?;
            fetch_json(self.paddock.caller(&next.token).get("/me")).await?;
            self.add_session(&session)?;
            self.add_session(&next)?;
        }
        Ok(())
    }

    /// Requests with secrets that Paddock refuses, each for another reason.
    pub(super) async fn use_in_failures(&mut self) -> Result<()> {
        let admin = self.admin.clone();
        let forged = format!("{}{FORGED}", &admin.key()[..15]);
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{ADMIN}:{BOOTSTRAP_PASSWORD}")));
        let token = Session::open(self.login(ADMIN, BOOTSTRAP_PASSWORD)).await?.token;
        let session = self.paddock.caller(&token);
        let id = fetch_json(session.get("/me")).await?["id"].clone();
        let raw = |body: String| admin.post("/auth/login", &Value::Null).body(body);
        let mut requests = vec![
            (401, self.login(CONTROL_EMAIL, WRONG_PASSWORD)),
            (401, self.login(TYPED_AS_NAME, WRONG_PASSWORD)),
            (401, self.login(SECOND_ADMIN, WRONG_PASSWORD)),
            (
                422,
                session
                    .post("/me/password", &json!({"current_password": WRONG_PASSWORD, "new_password": SET_BY_OWNER})),
            ),
            (422, session.post(&format!("/users/{id}/password"), &json!({"password": SHORT_PASSWORD}))),
            (
                422,
                session
                    .post(&format!("/users/{id}/password"), &json!({"password": SET_BY_ADMIN, "again": SET_BY_OWNER})),
            ),
            (403, admin.post(&format!("/users/{id}/password"), &json!({"password": SET_BY_OWNER}))),
            (400, raw(format!("{{\"username\": \"{CONTROL_EMAIL}\", \"password\": {}", json!(SET_BY_OWNER)))),
            (422, raw(json!({"username": CONTROL_EMAIL, "password": [SET_BY_OWNER]}).to_string())),
            (
                422,
                raw(json!({"username": CONTROL_EMAIL, "password": SET_BY_OWNER, "again": WRONG_PASSWORD}).to_string()),
            ),
            (422, raw(json!({"username": [SET_BY_OWNER], "password": SET_BY_OWNER}).to_string())),
            (422, admin.post("/users", &json!({"email": TYPED_AS_NAME}))),
            (422, admin.get(&format!("/users?password={IN_A_QUERY}"))),
            (401, Client::new().get(format!("{}/me", self.paddock.url())).header("authorization", &basic)),
            (400, admin.get("/me").header("X-API-Key", MALFORMED_KEY)),
            (
                401,
                admin.post("/auth/refresh", &Value::Null).header("cookie", format!("paddock_refresh={TYPED_AS_NAME}")),
            ),
            (400, admin.post("/api/chat", &json!({"messages": [{"role": "user", "content": PROMPT}]}))),
            (404, admin.post("/api/chat", &json!({"model": "nowhere", "messages": [{"content": PROMPT}]}))),
        ];
        for stranger in [MALFORMED_KEY, &forged, &self.revoked_key, TYPED_AS_NAME].map(|key| self.paddock.caller(key)) {
            requests.extend([
                (401, stranger.get("/me")),
                (401, stranger.get("/api/tags")),
                (401, stranger.post("/v1/chat/completions", &json!({"prompt": PROMPT}))),
            ]);
        }
        for (status, request) in requests {
            self.assert_fails(status, request).await?;
        }
        self.use_while_the_database_fails(&session, &id).await
    }

    /// Transactions with secrets that fail at their last statement.
    async fn use_while_the_database_fails(&mut self, session: &Caller, id: &Value) -> Result<()> {
        let admin = self.admin.clone();
        self.served.execute("ALTER TABLE audit_logs RENAME TO elsewhere").await?;
        for request in [
            self.login(ADMIN, BOOTSTRAP_PASSWORD),
            session.post(&format!("/users/{id}/password"), &json!({"password": SET_BY_OWNER})),
            admin.post("/credentials", &json!({"user_id": id})),
            admin.post("/users", &json!({"email": "another@example.com"})),
        ] {
            self.assert_fails(503, request).await?;
        }
        self.served.execute("ALTER TABLE elsewhere RENAME TO audit_logs").await
    }

    async fn assert_fails(&mut self, status: u16, request: RequestBuilder) -> Result<()> {
        let answer = request.header("X-Request-Id", REQUEST_ID).send().await?;
        let (url, got, headers) = (answer.url().clone(), answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await?;
        ensure!(got == status, "{url}: {got} instead of {status}: {body}");
        self.errors.push(format!("{got} {headers} {body}\n"));
        Ok(())
    }
}

/// The commands before the server starts: the first admin, the password made for the second, and
/// sinks of their output.
fn run_commands(launch: &Launch) -> Result<(Bootstrap, String, Vec<Sink>)> {
    successful(launch.command(&["migrate"])?.output()?)?;
    let seeded = launch.command(&["seed"])?.output()?;
    // A password that was given is not repeated.
    let printed = successful(seeded.clone())?;
    ensure!(!printed.contains("PASSWORD"), "{printed}");
    let bootstrap = Bootstrap::from_output(&format!("{printed}BOOTSTRAP_ADMIN_PASSWORD={BOOTSTRAP_PASSWORD}\n"))?;
    let local = |arguments: &[&str]| launch.command(&[arguments, &["--local", "-o", "json"]].concat());
    let created = local(&["user", "create", SECOND_ADMIN, "--admin"])?.output()?;
    let made = successful_json(created.clone())?["password"].as_str().context("a password")?.to_owned();
    let set = with_input(local(&["user", "set-password", SECOND_ADMIN, "--password-file", "-"])?, SET_BY_COMMAND)?;
    ensure!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let verify = |key: &str| -> Result<Output> {
        Ok(launch.command(&["audit", "verify"])?.env("AUDIT_SIGNING_KEY", key).output()?)
    };
    let (verified, wrong_key) = (verify(AUDIT_KEY)?, verify(&AUDIT_KEY.to_uppercase())?);
    ensure!(verified.status.success() && !wrong_key.status.success(), "the log is not sealed by the key");
    // Commands print secrets to standard output only.
    ensure!(seeded.stderr.is_empty() && created.stderr.is_empty(), "{seeded:?} {created:?}");
    let mut sinks = vec![
        Sink::new("the output of a failed verification", wrong_key.stderr, "audit")?,
        Sink::new("the output of setting a password", [set.stdout, set.stderr].concat(), "password_set")?,
    ];
    for format in ["table", "json", "yaml"] {
        let config = launch.command(&["config", "-o", format])?.output()?;
        sinks.push(Sink::new("the configuration", [config.stdout, config.stderr].concat(), "127.0.0.1")?);
    }
    Ok((bootstrap, made, sinks))
}

/// Asserts that the token is signed with `JWT_SECRET`.
fn assert_signature(token: &str) -> Result<()> {
    let (text, signature) = token.rsplit_once('.').context("three parts")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, JWT_SECRET.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature)?;
    hmac::verify(&key, text.as_bytes(), &signature).map_err(|_| anyhow::anyhow!("signed by another key"))
}
