//! What is done with the secrets before they are looked for.

use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use paddock_tests::fake_ollama::{FakeOllama, Script, chat_lines};
use paddock_tests::paddock::{Bootstrap, Caller, Launch, Paddock, fetch_json};
use paddock_tests::reaper;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::otlp_collector::Collector;
use super::super::{said, told, with_input};
use super::encodings::Secret;
use super::sinks::{ServedDatabase, Sink};
use super::{
    AUDIT_KEY, BOOTSTRAP_PASSWORD, CHOSEN, COLLECTOR_TOKEN, COMPLETION, DATABASE_PASSWORD, FORGED, IN_A_QUERY,
    JWT_SECRET, MALFORMED_KEY, PROMPT, REQUEST, SEEN, SET_AT_PROMPT, SET_BY_ADMIN, SHORT_PASSWORD, TYPED_AS_NAME,
    WRONG_PASSWORD,
};

const MODEL: &str = "smollm2:135m";
const ADMIN: &str = "admin@example.com";
/// An admin made at the prompt.
const ROOT: &str = "root@example.com";

/// A server that knows all secrets, and those who use it.
pub(super) struct Scenario {
    pub(super) served: ServedDatabase,
    pub(super) paddock: Paddock,
    pub(super) admin: Caller,
    /// The sinks that are written to before it is served.
    pub(super) sinks: Vec<Sink>,
    /// What was answered to requests that failed.
    pub(super) errors: Vec<String>,
    /// Where it keeps what it keeps beside its database.
    pub(super) kept: TempDir,
    ollama: FakeOllama,
    secrets: Vec<Secret>,
    /// A key that was good once.
    revoked: String,
}

/// What a session is held by.
struct Session {
    token: String,
    cookie: String,
}

impl Session {
    /// A cookie counts for one refresh; the signature is what makes a token more than what everybody may know.
    fn signature(&self) -> Result<&str> {
        Ok(self.token.rsplit_once('.').context("three parts")?.1)
    }

    async fn of(request: RequestBuilder) -> Result<Self> {
        let answer = request.send().await?.error_for_status()?;
        let cookie = answer.headers().get("set-cookie").context("a cookie")?.to_str()?;
        let cookie = cookie.split(';').next().and_then(|pair| pair.strip_prefix("paddock_refresh="));
        let cookie = cookie.context("the cookie of a session")?.to_owned();
        let token: Value = answer.json().await?;
        Ok(Self { token: token["access_token"].as_str().context("a token")?.to_owned(), cookie })
    }
}

/// The secret part of a key; what stands before it is shown to everybody.
fn secret_of(key: &str) -> Result<&str> {
    key.get(15..).with_context(|| format!("no key: {key}"))
}

impl Scenario {
    /// A server, with an admin beside the first, whose password was made and then set at the prompt.
    pub(super) async fn open(served: ServedDatabase, collector: &Collector, log_format: &str) -> Result<Self> {
        let ollama = FakeOllama::start(&[MODEL]).await?;
        let words = chat_lines(MODEL, 3).map(|line| line.replace("w1", COMPLETION));
        ollama.script("/api/chat", Script::ndjson(words));
        let kept = reaper::scratch_dir("kept")?;
        let launch = Launch::new(&["api"], served.url())?
            .ollama(&ollama.url())
            .env("AUDIT_HEAD_FILE", &kept.path().join("canaries.audit-head").display().to_string())
            .env("USAGE_SPOOL_DIR", &kept.path().join("usage").display().to_string())
            .env("JWT_SECRET", JWT_SECRET)
            .env("AUDIT_SIGNING_KEY", AUDIT_KEY)
            .env("ADMIN_BOOTSTRAP_PASSWORD", BOOTSTRAP_PASSWORD)
            .env("LOG_LEVEL", "trace")
            .env("LOG_FORMAT", log_format)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
            .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{COLLECTOR_TOKEN}"));
        let (bootstrap, made, sinks) = prompt(&launch)?;
        let paddock = launch.start().await?;
        let admin = paddock.caller(&bootstrap.key);
        let (errors, secrets, revoked) = (Vec::new(), Vec::new(), String::new());
        let mut scenario = Self { served, paddock, admin, sinks, errors, kept, ollama, secrets, revoked };
        scenario.know("bootstrap key", secret_of(&bootstrap.key)?);
        scenario.know("password made at the prompt", &made);
        for (what, secret) in [
            ("signing key of tokens", JWT_SECRET),
            ("key of the audit log", AUDIT_KEY),
            ("database's password", DATABASE_PASSWORD),
            ("collector's token", COLLECTOR_TOKEN),
            ("bootstrap password", BOOTSTRAP_PASSWORD),
            ("password set at the prompt", SET_AT_PROMPT),
            ("password set by an admin", SET_BY_ADMIN),
            ("password chosen by its owner", CHOSEN),
            ("wrong password", WRONG_PASSWORD),
            ("refused password", SHORT_PASSWORD),
            ("password typed as a name", TYPED_AS_NAME),
            ("malformed key", MALFORMED_KEY),
            ("forged key", FORGED),
            ("password in a query", IN_A_QUERY),
            ("prompt", PROMPT),
            ("completion", COMPLETION),
        ] {
            scenario.know(what, secret);
        }
        Ok(scenario)
    }

    fn know(&mut self, what: &'static str, secret: &str) {
        self.secrets.push(Secret::new(what, secret));
    }

    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// What Ollama was sent.
    pub(super) fn upstream(&self) -> Result<Sink> {
        let sent: Vec<_> =
            self.ollama.inference_requests().iter().map(|seen| format!("{:?} {:?}", seen.headers, seen.body)).collect();
        Sink::new("what Ollama was sent", sent.concat(), PROMPT)
    }

    fn login(&self, name: &str, password: &str) -> RequestBuilder {
        self.admin.post("/auth/login", &json!({"username": name, "password": password}))
    }

    fn know_session(&mut self, session: &Session) -> Result<()> {
        self.know("access token", session.signature()?);
        self.know("cookie", &session.cookie);
        Ok(())
    }

    /// Everything as it should be.
    pub(super) async fn succeed(&mut self) -> Result<()> {
        let user = self.admin.create_user(json!({"email": SEEN, "roles": ["user"]})).await?;
        let (id, caller) = self.admin.create_key(user, json!({"label": "canary"})).await?;
        self.know("issued key", secret_of(caller.key())?);
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]});
        let chatted = caller.post("/api/chat", &chat).send().await?.error_for_status()?.text().await?;
        ensure!(chatted.contains(COMPLETION), "{chatted}");
        let rotated = fetch_json(self.admin.post(&format!("/credentials/{id}/rotate"), &json!({}))).await?;
        let rotated = rotated["plaintext"].as_str().context("a key")?.to_owned();
        self.know("rotated key", secret_of(&rotated)?);
        fetch_json(self.paddock.caller(&rotated).get("/me")).await?;
        let (id, revoked) = self.admin.create_key(user, json!({"label": "revoked"})).await?;
        fetch_json(revoked.get("/me")).await?;
        self.admin.post(&format!("/credentials/{id}/revoke"), &Value::Null).send().await?.error_for_status()?;
        self.know("revoked key", secret_of(revoked.key())?);
        revoked.key().clone_into(&mut self.revoked);

        let boss = Session::of(self.login(ADMIN, BOOTSTRAP_PASSWORD)).await?;
        signed_by_ours(&boss.token)?;
        self.know_session(&boss)?;
        let set = self
            .paddock
            .caller(&boss.token)
            .post(&format!("/users/{user}/password"), &json!({"password": SET_BY_ADMIN}));
        set.send().await?.error_for_status()?;
        let own = Session::of(self.login(SEEN, SET_BY_ADMIN)).await?;
        self.know_session(&own)?;
        let change = json!({"current_password": SET_BY_ADMIN, "new_password": CHOSEN});
        self.paddock.caller(&own.token).post("/me/password", &change).send().await?.error_for_status()?;
        for (name, password) in [(SEEN, CHOSEN), (ROOT, SET_AT_PROMPT)] {
            let session = Session::of(self.login(name, password)).await?;
            let cookie = format!("paddock_refresh={}", session.cookie);
            let next = Session::of(self.admin.post("/auth/refresh", &Value::Null).header("cookie", cookie)).await?;
            fetch_json(self.paddock.caller(&next.token).get("/me")).await?;
            self.know_session(&session)?;
            self.know_session(&next)?;
        }
        Ok(())
    }

    /// Whatever can go wrong with a secret in hand.
    pub(super) async fn fail(&mut self) -> Result<()> {
        let admin = self.admin.clone();
        let forged = format!("{}{FORGED}", &admin.key()[..15]);
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{ADMIN}:{BOOTSTRAP_PASSWORD}")));
        let token = Session::of(self.login(ADMIN, BOOTSTRAP_PASSWORD)).await?.token;
        let session = self.paddock.caller(&token);
        let id = fetch_json(session.get("/me")).await?["id"].clone();
        let raw = |body: String| admin.post("/auth/login", &Value::Null).body(body);
        let mut requests = vec![
            (401, self.login(SEEN, WRONG_PASSWORD)),
            (401, self.login(TYPED_AS_NAME, WRONG_PASSWORD)),
            (401, self.login(ROOT, WRONG_PASSWORD)),
            (422, session.post("/me/password", &json!({"current_password": WRONG_PASSWORD, "new_password": CHOSEN}))),
            (422, session.post(&format!("/users/{id}/password"), &json!({"password": SHORT_PASSWORD}))),
            (422, session.post(&format!("/users/{id}/password"), &json!({"password": SET_BY_ADMIN, "again": CHOSEN}))),
            (403, admin.post(&format!("/users/{id}/password"), &json!({"password": CHOSEN}))),
            (400, raw(format!("{{\"username\": \"{SEEN}\", \"password\": {}", json!(CHOSEN)))),
            (422, raw(json!({"username": SEEN, "password": [CHOSEN]}).to_string())),
            (422, raw(json!({"username": SEEN, "password": CHOSEN, "again": WRONG_PASSWORD}).to_string())),
            (422, raw(json!({"username": [CHOSEN], "password": CHOSEN}).to_string())),
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
        for stranger in [MALFORMED_KEY, &forged, &self.revoked, TYPED_AS_NAME].map(|key| self.paddock.caller(key)) {
            requests.extend([
                (401, stranger.get("/me")),
                (401, stranger.get("/api/tags")),
                (401, stranger.post("/v1/chat/completions", &json!({"prompt": PROMPT}))),
            ]);
        }
        for (status, request) in requests {
            self.fails(status, request).await?;
        }
        self.break_down(&session, &id).await
    }

    /// A database that fails in the middle, with all of it in hand.
    async fn break_down(&mut self, session: &Caller, id: &Value) -> Result<()> {
        let admin = self.admin.clone();
        self.served.execute("ALTER TABLE audit_logs RENAME TO elsewhere").await?;
        for request in [
            self.login(ADMIN, BOOTSTRAP_PASSWORD),
            session.post(&format!("/users/{id}/password"), &json!({"password": CHOSEN})),
            admin.post("/credentials", &json!({"user_id": id})),
            admin.post("/users", &json!({"email": "another@example.com"})),
        ] {
            self.fails(503, request).await?;
        }
        self.served.execute("ALTER TABLE elsewhere RENAME TO audit_logs").await
    }

    async fn fails(&mut self, status: u16, request: RequestBuilder) -> Result<()> {
        let answer = request.header("X-Request-Id", REQUEST).send().await?;
        let (url, got, headers) = (answer.url().clone(), answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await?;
        ensure!(got == status, "{url}: {got} instead of {status}: {body}");
        self.errors.push(format!("{got} {headers} {body}\n"));
        Ok(())
    }
}

/// What is done before there is a server: its first admin, the password made for another, and the sinks these are told in.
fn prompt(launch: &Launch) -> Result<(Bootstrap, String, Vec<Sink>)> {
    said(launch.command(&["migrate"])?.output()?)?;
    let seeded = launch.command(&["seed"])?.output()?;
    let bootstrap = Bootstrap::from_output(&said(seeded.clone())?)?;
    ensure!(bootstrap.password == BOOTSTRAP_PASSWORD, "another password than the one that was given");
    let local = |arguments: &[&str]| launch.command(&[arguments, &["--local", "-o", "json"]].concat());
    let created = local(&["user", "create", ROOT, "--admin"])?.output()?;
    let made = told(created.clone())?["password"].as_str().context("a password")?.to_owned();
    let set = with_input(local(&["user", "set-password", ROOT, "--password-file", "-"])?, SET_AT_PROMPT)?;
    ensure!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let verify = |key: &str| -> Result<Output> {
        Ok(launch.command(&["audit", "verify"])?.env("AUDIT_SIGNING_KEY", key).output()?)
    };
    let (verified, mistaken) = (verify(AUDIT_KEY)?, verify(&AUDIT_KEY.to_uppercase())?);
    ensure!(verified.status.success() && !mistaken.status.success(), "the log is not sealed by the key");
    // What tells a secret to its owner says nothing beside.
    ensure!(seeded.stderr.is_empty() && created.stderr.is_empty(), "{seeded:?} {created:?}");
    let mut sinks = vec![
        Sink::new("what a mistaken verification says", mistaken.stderr, "audit")?,
        Sink::new("what setting a password says", [set.stdout, set.stderr].concat(), "password_set")?,
    ];
    for format in ["table", "json", "yaml"] {
        let config = launch.command(&["config", "-o", format])?.output()?;
        sinks.push(Sink::new("the configuration", [config.stdout, config.stderr].concat(), "127.0.0.1")?);
    }
    Ok((bootstrap, made, sinks))
}

/// The token is signed by the secret that was given.
fn signed_by_ours(token: &str) -> Result<()> {
    let (text, signature) = token.rsplit_once('.').context("three parts")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, JWT_SECRET.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature)?;
    hmac::verify(&key, text.as_bytes(), &signature).map_err(|_| anyhow::anyhow!("signed by another key"))
}
