//! Client of a running server, for the commands that manage users, keys, usage and audit.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{config, error::Error};

/// Timeout of a request. Longer than the server's own timeout for its database.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Part of the TLS error for a server that answers in plain text.
const PLAINTEXT_TLS_ERROR: &str = "InvalidContentType";
/// Page size of user lists, which is the API's maximum.
pub(crate) const USERS_PAGE_SIZE: u16 = 200;

/// The server, and the credential to use.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerSettings {
    /// URL of the running server
    #[arg(long, env = "PADDOCK_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// An API key, or the access token of a session; prefer the variable, because other users of
    /// this machine can see arguments
    #[arg(long, env = "PADDOCK_TOKEN", value_name = "SECRET", hide_env_values = true)]
    pub(crate) token: Option<SecretString>,
    /// File with the token
    #[arg(long, env = "PADDOCK_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A server's URL and a credential.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: SecretString,
}

/// A successful response.
pub(crate) struct ApiResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Client {
    /// Reads the settings. Sends nothing yet.
    pub(crate) fn new(settings: &ServerSettings) -> Result<Self, Error> {
        let url = config::parse_base_url("PADDOCK_SERVER", &settings.server, "https://paddock.example.com")?;
        let token = config::read_secret("PADDOCK_TOKEN", settings.token.as_ref(), settings.token_file.as_deref())?;
        let token = token.ok_or_else(|| {
            Error::config(
                "PADDOCK_TOKEN is not set: set it to an API key (pdk_...) or a session's access token, or PADDOCK_TOKEN_FILE to \
                 a file that holds one",
            )
        })?;
        // A redirect would send the credential to another host.
        let mut http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            http = http.no_proxy();
        }
        let http = http.build().context("cannot build the HTTP client")?;
        Ok(Self { http, base: url.as_str().trim_end_matches('/').to_owned(), token })
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<ApiResponse, Error> {
        self.send(Method::GET, path, query, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        Ok(self.send(Method::POST, path, &[], body).await?.body)
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Error> {
        Ok(self.send(Method::PATCH, path, &[], Some(body)).await?.body)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.send(Method::DELETE, path, &[], None).await.map(|_| ())
    }

    /// Fetches all pages of a list.
    pub(crate) async fn fetch_all(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<Value>, Error> {
        let mut all = Vec::new();
        loop {
            let mut page = query.to_vec();
            if !all.is_empty() {
                page.push(("offset", all.len().to_string()));
            }
            let response = self.get(path, &page).await?;
            let Value::Array(items) = response.body else { return Err(self.not_paddock(path, StatusCode::OK).into()) };
            let total = response.headers.get("x-total-count").and_then(|count| count.to_str().ok()?.parse().ok());
            let is_empty = items.is_empty();
            all.extend(items);
            if is_empty || total.is_none_or(|total: usize| all.len() >= total) {
                return Ok(all);
            }
        }
    }

    /// The id of a user, given by id or e-mail address.
    pub(crate) async fn user_id(&self, name: &str) -> Result<i64, Error> {
        let user = self.find_user(name).await?;
        user["id"].as_i64().ok_or_else(|| self.not_paddock("/users", StatusCode::OK).into())
    }

    /// The user with this id or e-mail address. For an id, only the id is returned, unchecked.
    pub(crate) async fn find_user(&self, name: &str) -> Result<Value, Error> {
        if let Ok(id) = name.parse::<i64>() {
            return Ok(json!({"id": id}));
        }
        let found = self.fetch_all("/users", &[("q", name.to_owned()), ("limit", USERS_PAGE_SIZE.to_string())]).await?;
        let is_named = |user: &Value| user["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(name));
        let user = found.into_iter().find(is_named);
        user.ok_or_else(|| anyhow::anyhow!("there is no user {name}; `paddock user list` lists all users").into())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<ApiResponse, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.bearer_auth(self.token.expose_secret()).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.map_err(|error| self.unreachable(error))?;
        let body = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        match body {
            Ok(body) if status.is_success() => Ok(ApiResponse { headers, body }),
            Ok(body) => Err(self.problem_error(status, &headers, path, &body).into()),
            Err(_) => Err(self.not_paddock(path, status).into()),
        }
    }

    /// The error for a request without a response.
    fn unreachable(&self, error: reqwest::Error) -> Error {
        let cause = root_cause(&error.without_url());
        if let (Some(rest), true) = (self.base.strip_prefix("https://"), cause.contains(PLAINTEXT_TLS_ERROR)) {
            return anyhow::anyhow!(
                "{} speaks no TLS; try http://{rest} with --server or PADDOCK_SERVER, if the network between is trusted",
                self.base
            )
            .into();
        }
        let remedy = "start the server, or set another URL with --server or PADDOCK_SERVER";
        anyhow::anyhow!("{} does not answer ({cause}): {remedy}", self.base).into()
    }

    /// The error for a response that does not come from Paddock.
    fn not_paddock(&self, path: &str, status: StatusCode) -> anyhow::Error {
        anyhow::anyhow!("{}{path} answered {status}, but not as Paddock does; is --server right?", self.base)
    }

    /// The error for a problem response, in one line.
    fn problem_error(&self, status: StatusCode, headers: &HeaderMap, path: &str, problem: &Value) -> anyhow::Error {
        let Some(detail) = problem["detail"].as_str() else {
            return self.not_paddock(path, status);
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
        if let Some(seconds) = retry_after_seconds(headers) {
            line = format!("{line}; try again in {seconds} s");
        }
        anyhow::anyhow!("{}", line.replace(char::is_control, " "))
    }
}

/// The seconds of the `Retry-After` header.
fn retry_after_seconds(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// The root cause: `Connection refused` instead of "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
