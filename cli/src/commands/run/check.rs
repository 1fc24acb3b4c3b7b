//! What is asked of a server that has just started, before it is said to run.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use paddock_accounts::{Accounts, bootstrap::Seeded, types::Role};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::commands::healthcheck::probe;

/// How long the parts may take to come up.
const START: Duration = Duration::from_secs(30);
/// How long a model may take to load and to answer.
const ANSWER: Duration = Duration::from_mins(5);

/// What is checked, and with what.
pub(super) struct Check<'a> {
    pub(super) accounts: &'a Accounts,
    pub(super) ollama: &'a paddock_ollama::Client,
    pub(super) seeded: &'a Seeded,
    /// The first admin's password, as this start made it or was told it.
    pub(super) password: Option<&'a SecretString>,
    /// A model to try.
    pub(super) model: Option<&'a str>,
}

/// What was found out, for the table.
pub(super) struct Started {
    pub(super) addr: SocketAddr,
    pub(super) first_admin: String,
    pub(super) models: Result<Vec<String>, String>,
    pub(super) tried: Option<String>,
}

impl Check<'_> {
    /// Asks the running server what its users will ask. It must answer; what Ollama lacks is only told.
    pub(super) async fn run(&self, addr: SocketAddr) -> anyhow::Result<Started> {
        let addr = reachable(addr);
        probe(addr, "healthz", START).await?;
        probe(addr, "readyz", START).await?;
        let (first_admin, signs_in) = self.first_admin().await?;
        let models = self.ollama.tags().await.map(|tags| tags.into_iter().map(|tag| tag.name).collect());
        let tried = match self.model {
            Some(model) => Some(self.try_out(addr, model, signs_in).await),
            None => None,
        };
        Ok(Started { addr, first_admin, models: models.map_err(|error| error.to_string()), tried })
    }

    /// How the first admin stands, and whether its password is known. Nobody signs in for that, which would be recorded at
    /// each start.
    async fn first_admin(&self) -> anyhow::Result<(String, bool)> {
        let Some(user) = self.accounts.users().find_by_email(&self.seeded.email).await? else {
            return Ok(("is not there; others are admins".to_owned(), false));
        };
        let fits = match self.password {
            Some(password) => Some(self.accounts.passwords().matches(user.id, password).await?),
            None => None,
        };
        let state = match fits {
            _ if !user.is_active => "is disabled; others are admins",
            _ if !user.roles.has(Role::Admin) => "is no admin; others are",
            Some(true) => "signs in",
            Some(false) => "has another password; ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 resets it",
            None => "was there already",
        };
        Ok((state.to_owned(), user.is_active && fits == Some(true)))
    }

    /// What came of a question to a model. With a key if there is a new one: a session is recorded.
    async fn try_out(&self, addr: SocketAddr, model: &str, signs_in: bool) -> String {
        let password = self.password.filter(|_| signs_in);
        let answered = match (&self.seeded.key, password) {
            (Some(key), _) => ask(addr, model, key.plaintext()).await,
            (None, Some(password)) => self.ask_in_a_session(addr, model, password).await,
            (None, None) => {
                return "not tried: no password or key is known; set ADMIN_BOOTSTRAP_PASSWORD".to_owned();
            }
        };
        answered.unwrap_or_else(|error| format!("no answer: {error:#}"))
    }

    async fn ask_in_a_session(&self, addr: SocketAddr, model: &str, password: &SecretString) -> anyhow::Result<String> {
        let token = sign_in(addr, self.seeded.email.as_str(), password).await.context("cannot sign in")?;
        ask(addr, model, &token).await
    }
}

/// The address to ask a server at that listens on every interface.
fn reachable(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port()) } else { addr }
}

/// This machine is asked directly, whatever proxies are for.
fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder().no_proxy().timeout(timeout).build()
}

/// The access token of a session.
async fn sign_in(addr: SocketAddr, username: &str, password: &SecretString) -> anyhow::Result<SecretString> {
    let body = json!({"username": username, "password": password.expose_secret()});
    let answer = client(START)?.post(format!("http://{addr}/auth/login")).json(&body).send().await?;
    let mut answer: Value = answer.error_for_status()?.json().await?;
    let token = answer.get_mut("access_token").map(Value::take);
    token.and_then(|token| token.as_str().map(SecretString::from)).context("no access_token")
}

/// One question through the gateway.
async fn ask(addr: SocketAddr, model: &str, bearer: &SecretString) -> anyhow::Result<String> {
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "options": {"num_predict": 16, "temperature": 0},
        "stream": false,
    });
    let began = Instant::now();
    let asked = client(ANSWER)?.post(format!("http://{addr}/api/chat")).bearer_auth(bearer.expose_secret()).json(&body);
    let answer = asked.send().await?;
    let status = answer.status();
    let answer: Value = answer.json().await?;
    anyhow::ensure!(status.is_success(), "{status}: {}", answer["error"].as_str().unwrap_or_default());
    let text = answer["message"]["content"].as_str().unwrap_or_default().trim().replace('\n', " ");
    Ok(format!("answered in {:.1} s: {text}", began.elapsed().as_secs_f32()))
}
