//! A running server, as the commands that manage it ask it.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{config, failure::Failure};

/// How long an answer may take: longer than a server waits for its database.
const PATIENCE: Duration = Duration::from_mins(1);
/// What TLS says of an answer in plain text.
const NO_TLS: &str = "InvalidContentType";
/// How many users one page holds, the most that the API gives.
pub(crate) const PAGE: u16 = 200;

/// Which server, and who asks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerSettings {
    /// The running server to ask
    #[arg(long, env = "PADDOCK_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// An API key, or the access token of a session; better set as a variable, since other users of a machine can see arguments
    #[arg(long, env = "PADDOCK_TOKEN", value_name = "SECRET", hide_env_values = true)]
    pub(crate) token: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "PADDOCK_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A server and a credential for it.
pub(crate) struct Remote {
    http: reqwest::Client,
    base: String,
    token: SecretString,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Remote {
    /// Settles on a server and a credential. Asks nothing yet.
    pub(crate) fn new(settings: &ServerSettings) -> Result<Self, Failure> {
        let url = config::base_url("PADDOCK_SERVER", &settings.server, "https://paddock.example.com")?;
        let token = config::secret("PADDOCK_TOKEN", settings.token.as_ref(), settings.token_file.as_deref())?;
        let token = token.ok_or_else(|| {
            Failure::config(
                "PADDOCK_TOKEN is not set: set it to an API key (pdk_...) or a session's access token, or PADDOCK_TOKEN_FILE to \
                 a file that holds one",
            )
        })?;
        // A redirect would carry the credential somewhere that nobody named.
        let mut http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        if url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            http = http.no_proxy();
        }
        let http = http.build().context("an HTTP client")?;
        Ok(Self { http, base: url.as_str().trim_end_matches('/').to_owned(), token })
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.send(Method::GET, path, query, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        Ok(self.send(Method::POST, path, &[], body).await?.body)
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.send(Method::PATCH, path, &[], Some(body)).await?.body)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(Method::DELETE, path, &[], None).await.map(|_| ())
    }

    /// Everything behind a list, page by page.
    pub(crate) async fn all(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        loop {
            let mut page = query.to_vec();
            if !all.is_empty() {
                page.push(("offset", all.len().to_string()));
            }
            let answer = self.get(path, &page).await?;
            let Value::Array(items) = answer.body else { return Err(self.stranger(path).into()) };
            let total = answer.headers.get("x-total-count").and_then(|count| count.to_str().ok()?.parse().ok());
            let is_empty = items.is_empty();
            all.extend(items);
            if is_empty || total.is_none_or(|total: usize| all.len() >= total) {
                return Ok(all);
            }
        }
    }

    /// The id of the user that is meant by an id or an e-mail address.
    pub(crate) async fn user(&self, name: &str) -> Result<i64, Failure> {
        let user = self.look_up(name).await?;
        user["id"].as_i64().ok_or_else(|| self.stranger("/users").into())
    }

    /// The user that is meant by an id or an e-mail address. An id is believed, and then nothing else is known.
    pub(crate) async fn look_up(&self, name: &str) -> Result<Value, Failure> {
        if let Ok(id) = name.parse::<i64>() {
            return Ok(json!({"id": id}));
        }
        let found = self.all("/users", &[("q", name.to_owned()), ("limit", PAGE.to_string())]).await?;
        let same = |user: &Value| user["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(name));
        let user = found.into_iter().find(same);
        user.ok_or_else(|| anyhow::anyhow!("there is no user {name}; `paddock user list` shows who is").into())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.bearer_auth(self.token.expose_secret()).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.away(error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.map_err(|error| self.away(error))?;
        let body = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        match body {
            Ok(body) if status.is_success() => Ok(Answer { headers, body }),
            Ok(body) => Err(self.refused(status, &headers, path, &body).into()),
            Err(_) if status.is_success() => Err(self.stranger(path).into()),
            Err(_) => {
                Err(anyhow::anyhow!("{}{path} answered {status}, not as Paddock does; is --server right?", self.base)
                    .into())
            }
        }
    }

    /// No answer.
    fn away(&self, error: reqwest::Error) -> Failure {
        let cause = innermost(&error.without_url());
        if let (Some(rest), true) = (self.base.strip_prefix("https://"), cause.contains(NO_TLS)) {
            return anyhow::anyhow!(
                "{} speaks no TLS; try http://{rest}, with --server or PADDOCK_SERVER, if nobody can listen on the way",
                self.base
            )
            .into();
        }
        let remedy = "start it there, or name another with --server or PADDOCK_SERVER";
        anyhow::anyhow!("{} does not answer ({cause}): {remedy}", self.base).into()
    }

    /// An answer of another kind of server.
    fn stranger(&self, path: &str) -> anyhow::Error {
        anyhow::anyhow!("{}{path} is not answered as Paddock does; is --server right?", self.base)
    }

    /// A problem, in one line.
    fn refused(&self, status: StatusCode, headers: &HeaderMap, path: &str, problem: &Value) -> anyhow::Error {
        let Some(detail) = problem["detail"].as_str() else {
            return anyhow::anyhow!("{}{path} answered {status}, not as Paddock does; is --server right?", self.base);
        };
        let violations = problem["errors"].as_array().into_iter().flatten().filter_map(|error| {
            let (pointer, detail) = (error["pointer"].as_str()?, error["detail"].as_str()?);
            Some(format!("{pointer} {detail}"))
        });
        let violations: Vec<String> = violations.filter(|violation| !detail.contains(violation)).collect();
        let mut line = detail.to_owned();
        if !violations.is_empty() {
            line = format!("{line}: {}", violations.join("; "));
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                line = format!(
                    "{} refused PADDOCK_TOKEN: {line}; set it to a live API key or a fresh access token",
                    self.base
                );
            }
            StatusCode::FORBIDDEN => line = format!("not allowed: {line}"),
            _ if status.is_server_error() => {
                let id = problem["request_id"].as_str().unwrap_or("unknown");
                line = format!("{line} (request {id})");
            }
            _ => {}
        }
        if let Some(seconds) = seconds_to_wait(headers) {
            line = format!("{line}; try again in {seconds} s");
        }
        anyhow::anyhow!("{}", line.replace(char::is_control, " "))
    }
}

/// When to come back, where the answer says so.
fn seconds_to_wait(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// What is at the bottom of an error: `Connection refused`, rather than that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
