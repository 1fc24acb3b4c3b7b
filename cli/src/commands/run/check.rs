//! The checks of `paddock run` after its start, before it prints that it runs.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use paddock_accounts::{Accounts, bootstrap::Seeded, types::Role};
use paddock_ollama::{BackendSource, Client, Timeouts};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{commands::healthcheck::probe, config};

/// How long the API may take to answer `/healthz` and `/readyz`.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a model may take to load and to answer.
const MODEL_TIMEOUT: Duration = Duration::from_mins(5);

/// The inputs of the check.
pub(super) struct StartupCheck<'a> {
    pub(super) accounts: &'a Accounts,
    pub(super) ollama: &'a BackendSource,
    pub(super) seeded: &'a Seeded,
    /// The first admin's password, if this start set it or knows it.
    pub(super) password: Option<&'a SecretString>,
    /// The model of `--try-model`.
    pub(super) model: Option<&'a str>,
}

/// The results, as the table prints them.
pub(super) struct CheckResult {
    /// The API; `None` with `--no-backend`.
    pub(super) api: Option<ApiCheck>,
    pub(super) first_admin: String,
    pub(super) can_sign_in: bool,
    pub(super) models: Result<Vec<String>, String>,
    pub(super) model_reply: Option<String>,
}

/// The API as this machine reaches it.
pub(super) struct ApiCheck {
    pub(super) addr: SocketAddr,
    /// Whether the executable contains the web UI.
    pub(super) has_ui: bool,
}

impl StartupCheck<'_> {
    /// Waits until the API at this address is ready; `None` with `--no-backend`. Fails if it does
    /// not get ready; problems with Ollama are only reported.
    pub(super) async fn run(&self, addr: Option<SocketAddr>) -> anyhow::Result<CheckResult> {
        let api = match addr {
            Some(addr) => Some(check_api(addr).await?),
            None => None,
        };
        let (first_admin, can_sign_in) = self.first_admin().await?;
        let models = self.models().await;
        let model_reply = match (self.model, &api) {
            (Some(model), Some(api)) => Some(self.try_model(api.addr, model, can_sign_in).await),
            _ => None,
        };
        Ok(CheckResult { api, first_admin, can_sign_in, models, model_reply })
    }

    /// The models of every Ollama that answers. Fails if none does.
    async fn models(&self) -> Result<Vec<String>, String> {
        let mut models: Result<Vec<String>, String> = Err("there is no Ollama".to_owned());
        if self.ollama.current().is_empty() {
            self.ollama.resolve().await;
        }
        for backend in self.ollama.current().iter() {
            let tags = async { Client::new(backend.clone(), Timeouts::default())?.tags().await };
            match (tags.await, &mut models) {
                (Ok(tags), Ok(models)) => models.extend(tags.into_iter().map(|tag| tag.name)),
                (Ok(tags), failed @ Err(_)) => *failed = Ok(tags.into_iter().map(|tag| tag.name).collect()),
                (Err(error), Err(reason)) => *reason = error.to_string(),
                (Err(_), Ok(_)) => {}
            }
        }
        models.map(|mut models| {
            models.sort_unstable();
            models.dedup();
            models
        })
    }

    /// The first admin's state, and whether `password` is right. Compares the hash instead of
    /// signing in, because a sign-in leaves an audit event.
    async fn first_admin(&self) -> anyhow::Result<(String, bool)> {
        let Some(user) = self.accounts.users().find_by_email(&self.seeded.email).await? else {
            return Ok(("is not there; others are admins".to_owned(), false));
        };
        let is_right = match self.password {
            Some(password) => Some(self.accounts.passwords().matches(user.id, password).await?),
            None => None,
        };
        let state = match is_right {
            _ if !user.is_active => "is disabled; others are admins",
            _ if !user.roles.has(Role::Admin) => "is no admin; others are",
            Some(true) => "signs in",
            Some(false) => "has another password; ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 resets it",
            None => "was there already",
        };
        Ok((state.to_owned(), user.is_active && is_right == Some(true)))
    }

    /// Asks the model one question, and returns its reply or the error. Prefers the new key:
    /// signing in leaves an audit event.
    async fn try_model(&self, addr: SocketAddr, model: &str, can_sign_in: bool) -> String {
        let password = self.password.filter(|_| can_sign_in);
        let reply = match (&self.seeded.key, password) {
            (Some(key), _) => chat(addr, model, key.plaintext()).await,
            (None, Some(password)) => self.chat_in_session(addr, model, password).await,
            (None, None) => {
                return "not tried: no password or key is known; set ADMIN_BOOTSTRAP_PASSWORD".to_owned();
            }
        };
        reply.unwrap_or_else(|error| format!("no answer: {error:#}"))
    }

    async fn chat_in_session(&self, addr: SocketAddr, model: &str, password: &SecretString) -> anyhow::Result<String> {
        let token = sign_in(addr, self.seeded.email.as_str(), password).await.context("cannot sign in")?;
        chat(addr, model, &token).await
    }
}

/// The URL of the web UI of the API at this address.
pub(super) fn ui_url(addr: SocketAddr) -> String {
    format!("http://{addr}/ui/")
}

async fn check_api(addr: SocketAddr) -> anyhow::Result<ApiCheck> {
    probe(addr, "healthz", STARTUP_TIMEOUT).await?;
    probe(addr, "readyz", STARTUP_TIMEOUT).await?;
    let addr = config::local_address(addr);
    Ok(ApiCheck { addr, has_ui: paddock_api::has_ui() })
}

/// An HTTP client that ignores proxy settings, since the server is on this machine.
fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder().no_proxy().timeout(timeout).build()
}

/// Signs in, and returns the access token.
async fn sign_in(addr: SocketAddr, username: &str, password: &SecretString) -> anyhow::Result<SecretString> {
    let body = json!({"username": username, "password": password.expose_secret()});
    let answer = client(STARTUP_TIMEOUT)?.post(format!("http://{addr}/auth/login")).json(&body).send().await?;
    let mut answer: Value = answer.error_for_status()?.json().await?;
    let token = answer.get_mut("access_token").map(Value::take);
    token.and_then(|token| token.as_str().map(SecretString::from)).context("the answer has no access_token")
}

/// Sends one chat request through the gateway.
async fn chat(addr: SocketAddr, model: &str, bearer: &SecretString) -> anyhow::Result<String> {
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "options": {"num_predict": 16, "temperature": 0},
        "stream": false,
    });
    let began = Instant::now();
    let request =
        client(MODEL_TIMEOUT)?.post(format!("http://{addr}/api/chat")).bearer_auth(bearer.expose_secret()).json(&body);
    let answer = request.send().await?;
    let status = answer.status();
    let answer: Value = answer.json().await?;
    anyhow::ensure!(status.is_success(), "{status}: {}", answer["error"].as_str().unwrap_or_default());
    let text = answer["message"]["content"].as_str().unwrap_or_default().trim().replace('\n', " ");
    Ok(format!("answered in {:.1} s: {text}", began.elapsed().as_secs_f32()))
}
