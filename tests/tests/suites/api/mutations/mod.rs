//! Every mutation leaves exactly one audit event, and does not happen when the event cannot be
//! written.
//!
//! A new mutating operation needs one line in [`EVENTS`], one in [`client_disconnects`], and its
//! row in the authorization table.

mod audited_mutations;
mod client_disconnects;
mod database_unavailable;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    ADMIN_EMAIL, Api, PASSWORD,
    authorization::{ADMIN_COLUMNS, Callers, assert_covers, documented_operations, rows},
    sessions::cookie,
};

/// A mutating operation, the event of its success, and whether an authenticated caller can be
/// refused.
const EVENTS: [(&str, &str, bool); 18] = [
    ("POST /auth/login", "login_success", false),
    ("POST /auth/refresh", "session_refreshed", false),
    ("POST /auth/logout", "logout", false),
    ("POST /me/password", "password_set", true),
    ("POST /users/{id}/password", "password_set", true),
    ("POST /users", "user_created", true),
    ("PATCH /users/{id}", "user_updated", true),
    ("DELETE /users/{id}", "user_deleted", true),
    ("POST /credentials", "api_key_issued", true),
    ("POST /credentials/revoke", "api_key_revoked", true),
    ("PATCH /credentials/{id}", "api_key_updated", true),
    ("POST /credentials/{id}/end-grace", "api_key_grace_ended", true),
    ("POST /credentials/{id}/clear-override", "override_cleared", true),
    ("POST /credentials/{id}/rotate", "api_key_rotated", true),
    ("POST /credentials/{id}/revoke", "api_key_revoked", true),
    ("POST /models/pull", "model_pull_started", true),
    ("DELETE /models/pull/{id}", "model_pull_cancelled", true),
    ("DELETE /models/{name}", "model_deleted", true),
];

/// Tables and columns that change even when an operation is refused: sign-in attempts are counted
/// first, and observations leave no event.
const UNAUDITED: [&str; 3] = ["login_attempts", "usage_processes", "credentials.last_used_at"];

/// The time in which an operation must be refused while the database is unavailable.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

impl Api {
    /// The types of all events, oldest first.
    pub(super) async fn history(&self) -> Result<Vec<String>> {
        let mut events = self.events(500).await?;
        events.reverse();
        Ok(events)
    }

    /// Restores the first admin's password after an operation that changes it.
    async fn restore_password(&self, operation: &str) -> Result<()> {
        if operation == "POST /me/password" {
            let back = "UPDATE passwords SET hash = (SELECT hash FROM kept_password) WHERE user_id = 1";
            self.database()?.execute(back).await?;
        }
        Ok(())
    }

    /// The contents of the database that mutations can change.
    pub(super) async fn state(&self) -> Result<BTreeMap<String, Vec<String>>> {
        self.database()?.contents(&UNAUDITED).await
    }
}

/// The credentials of a session.
struct Session {
    token: String,
    cookie: String,
}

impl Session {
    async fn begin(api: &Api, email: &str) -> Result<Self> {
        let credentials = json!({"username": email, "password": PASSWORD});
        let login = api.anonymous().post("/auth/login").json(&credentials).expect(200).await?;
        Ok(Self { token: login.text("access_token")?, cookie: cookie(&login)?.0 })
    }
}

/// A request that would succeed.
struct PreparedRequest {
    operation: &'static str,
    body: Value,
    target: i64,
    session: Session,
}

impl PreparedRequest {
    async fn new(api: &Api, callers: &Callers, operation: &'static str) -> Result<Self> {
        let body = body_of(operation, callers)?;
        let target = callers.target(api, operation, ADMIN_COLUMNS[0]).await?;
        Ok(Self { operation, body, target, session: Session::begin(api, ADMIN_EMAIL).await? })
    }

    /// Sends the request with its session.
    async fn send(&self, api: &Api, status: u16) -> Result<String> {
        self.send_by(api, &self.session.token, status).await
    }

    /// Sends the request with another bearer credential.
    async fn send_by(&self, api: &Api, credential: &str, status: u16) -> Result<String> {
        let request = match self.operation {
            "POST /auth/refresh" => api.anonymous().operation(self.operation, 0).header("cookie", &self.session.cookie),
            operation => api.by(credential).operation(operation, self.target),
        };
        let request = if self.body.is_null() { request } else { request.json(&self.body) };
        Ok(request.expect(status).await.with_context(|| self.operation.to_owned())?.body)
    }

    /// Sends the request while the database is unavailable. The refusal must be prompt and contain
    /// no secret.
    async fn assert_unavailable(&self, api: &Api) -> Result<String> {
        let start = Instant::now();
        let body = self.send(api, 503).await?;
        ensure!(start.elapsed() <= REFUSAL_TIMEOUT, "{} took {:?}", self.operation, start.elapsed());
        ensure!(!body.contains("pdk_") && !body.contains("eyJ"), "{} returned a secret: {body}", self.operation);
        Ok(body)
    }
}

/// The body of an operation's row in the authorization table.
pub(super) fn body_of(operation: &str, callers: &Callers) -> Result<Value> {
    let row = rows().into_iter().find(|row| row.0 == operation);
    Ok(row.with_context(|| format!("{operation} has no row in api/authorization.rs"))?.1(callers))
}

/// The status of a successful operation.
pub(super) fn success(operation: &str) -> u16 {
    match operation {
        "POST /users" | "POST /credentials" => 201,
        "POST /models/pull" => 202,
        "POST /me/password"
        | "POST /users/{id}/password"
        | "DELETE /users/{id}"
        | "DELETE /models/pull/{id}"
        | "DELETE /models/{name}"
        | "POST /credentials/{id}/revoke"
        | "POST /credentials/{id}/end-grace"
        | "POST /credentials/{id}/clear-override" => 204,
        _ => 200,
    }
}

/// Asserts that no operation is missing, and saves the first admin's password.
async fn prepare(api: &Api) -> Result<()> {
    let mutating = documented_operations(&api.contract.document)
        .into_iter()
        .filter(|operation| {
            let of_models = [" /api/", " /v1/", " /ollama/"];
            !operation.starts_with("GET ") && !of_models.iter().any(|prefix| operation.contains(prefix))
        })
        .collect();
    assert_covers(&mutating, &EVENTS.map(|(operation, ..)| operation), "api/mutations/mod.rs")?;
    api.database()?.execute("CREATE TABLE kept_password AS SELECT hash FROM passwords WHERE user_id = 1").await?;
    Ok(())
}
