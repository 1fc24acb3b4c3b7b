//! Client of a running server, for the commands that sign in and that manage users, keys, usage and
//! audit.

mod error;
mod settings;

use std::time::Duration;

use anyhow::Context as _;
use http::HeaderMap;
use reqwest::{ClientBuilder, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

pub(crate) use self::{
    error::{Credential, RequestError},
    settings::{DEFAULT_SERVER, ServerSettings, Target, context_server, find, parse_server, text_of},
};
use crate::error::Error;

/// Timeout of a request. Longer than the server's own timeout for its database.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Page size of user lists, which is the API's maximum.
pub(crate) const USERS_PAGE_SIZE: u16 = 200;

/// A server's URL and a credential.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    /// Absent before a sign-in.
    token: Option<SecretString>,
    credential: Credential,
}

/// A successful response.
pub(crate) struct ApiResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// An HTTP client for this server, without timeouts. A redirect would send the credential to another
/// host, so none is followed.
pub(crate) fn http_client(server: &Url) -> ClientBuilder {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let is_local = server.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    if is_local { http.no_proxy() } else { http }
}

impl Client {
    /// Reads the settings. Sends nothing yet.
    pub(crate) fn new(settings: &ServerSettings) -> Result<Self, Error> {
        Self::of(&settings.resolve()?)
    }

    /// A client of this server with this credential.
    pub(crate) fn of(target: &Target) -> Result<Self, Error> {
        let client = Self::anonymous(&target.server)?;
        Ok(Self { token: Some(target.token.clone()), credential: target.credential.clone(), ..client })
    }

    /// A client that has not signed in yet.
    pub(crate) fn anonymous(server: &Url) -> Result<Self, Error> {
        let http = http_client(server).timeout(REQUEST_TIMEOUT).build().context("cannot build the HTTP client")?;
        Ok(Self { http, base: text_of(server).to_owned(), token: None, credential: Credential::SignIn })
    }

    /// The same server, with the access token of a session.
    pub(crate) fn with_session(&self, token: SecretString) -> Self {
        let (http, base) = (self.http.clone(), self.base.clone());
        Self { http, base, token: Some(token), credential: Credential::SignIn }
    }

    /// The base URL of the server.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<ApiResponse, RequestError> {
        self.send(Method::GET, path, query, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, RequestError> {
        Ok(self.send(Method::POST, path, &[], body).await?.body)
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, RequestError> {
        Ok(self.send(Method::PATCH, path, &[], Some(body)).await?.body)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), RequestError> {
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
            let Value::Array(items) = response.body else {
                return Err(RequestError::not_paddock(&self.base, path, StatusCode::OK).into());
            };
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
        user["id"].as_i64().ok_or_else(|| RequestError::not_paddock(&self.base, "/users", StatusCode::OK).into())
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
    ) -> Result<ApiResponse, RequestError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.query(query);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| RequestError::unreachable(&self.base, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.map_err(|error| RequestError::unreachable(&self.base, error))?;
        let body = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        let error = match body {
            Ok(body) if status.is_success() => return Ok(ApiResponse { headers, body }),
            Ok(body) => RequestError::refused(&self.base, &self.credential, status, &headers, &body),
            Err(_) => None,
        };
        Err(error.unwrap_or_else(|| RequestError::not_paddock(&self.base, path, status)))
    }
}
