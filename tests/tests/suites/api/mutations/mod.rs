//! Every operation that changes something leaves exactly one record of it, and does nothing where it cannot be recorded.
//!
//! A new mutating operation needs one line in [`EVENTS`], beside its row in the authorization table, and one in
//! [`leavers`].

mod leavers;
mod recorded;
mod unavailable;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Database;
use serde_json::{Value, json};

use super::authorization::{ADMINS, Cast, covers, documented, rows};
use super::sessions::cookie;
use super::{ADMIN_EMAIL, Api, PASSWORD};

/// A mutating operation, the event of its success, and whether somebody known can be refused it.
const EVENTS: [(&str, &str, bool); 13] = [
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
    ("POST /credentials/{id}/clear-override", "override_cleared", true),
    ("POST /credentials/{id}/rotate", "api_key_rotated", true),
    ("POST /credentials/{id}/revoke", "api_key_revoked", true),
];

/// What changes whether or not an operation does: a sign-in counts as tried before it is judged, and what is only observed
/// leaves no record.
const APART: [&str; 3] = ["login_attempts", "usage_processes", "credentials.last_used_at"];

/// The longest that a client waits to be told that nothing was changed.
const REFUSED: Duration = Duration::from_secs(5);

impl Api {
    /// The way past the API.
    pub(super) fn behind(&self) -> Result<&Database> {
        self.database.as_ref().context("a database")
    }

    /// The types of all events, oldest first.
    pub(super) async fn history(&self) -> Result<Vec<String>> {
        let mut events = self.events(500).await?;
        events.reverse();
        Ok(events)
    }

    /// Gives the first admin its password back, past every rule.
    async fn keep_password(&self, operation: &str) -> Result<()> {
        if operation == "POST /me/password" {
            let back = "UPDATE passwords SET hash = (SELECT hash FROM kept_password) WHERE user_id = 1";
            self.behind()?.execute(back).await?;
        }
        Ok(())
    }

    /// All that the mutating operations could have changed.
    pub(super) async fn state(&self) -> Result<BTreeMap<String, Vec<String>>> {
        self.behind()?.contents(&APART).await
    }
}

/// What a session is held by.
struct Session {
    token: String,
    cookie: String,
}

impl Session {
    async fn begin(api: &Api, email: &str) -> Result<Self> {
        let credentials = json!({"username": email, "password": PASSWORD});
        let login = api.anonymous("POST /auth/login", 0).json(&credentials).expect(200).await?;
        Ok(Self { token: login.text("access_token")?, cookie: cookie(&login)?.0 })
    }
}

/// An operation that would succeed if it were sent.
struct Prepared {
    operation: &'static str,
    body: Value,
    target: i64,
    session: Session,
}

impl Prepared {
    async fn new(api: &Api, cast: &Cast, operation: &'static str) -> Result<Self> {
        let body = body_of(operation, cast)?;
        let target = cast.target(api, operation, ADMINS[0]).await?;
        Ok(Self { operation, body, target, session: Session::begin(api, ADMIN_EMAIL).await? })
    }

    /// Sends it, by its session.
    async fn send(&self, api: &Api, status: u16) -> Result<String> {
        self.send_by(api, &self.session.token, status).await
    }

    /// Sends it with another bearer credential.
    async fn send_by(&self, api: &Api, credential: &str, status: u16) -> Result<String> {
        let request = match self.operation {
            "POST /auth/refresh" => api.anonymous(self.operation, 0).header("cookie", &self.session.cookie),
            operation => api.by(credential, operation, self.target),
        };
        let request = if self.body.is_null() { request } else { request.json(&self.body) };
        Ok(request.expect(status).await.with_context(|| self.operation.to_owned())?.body)
    }

    /// Sends it to a database that does not take it: that is said in time, and nothing secret is.
    async fn refused(&self, api: &Api) -> Result<String> {
        let start = Instant::now();
        let said = self.send(api, 503).await?;
        ensure!(start.elapsed() <= REFUSED, "{} took {:?}", self.operation, start.elapsed());
        ensure!(!said.contains("pdk_") && !said.contains("eyJ"), "{} returned a secret: {said}", self.operation);
        Ok(said)
    }
}

/// The body that an operation's row has.
pub(super) fn body_of(operation: &str, cast: &Cast) -> Result<Value> {
    let row = rows().into_iter().find(|row| row.0 == operation);
    Ok(row.with_context(|| format!("{operation} has no row in api/authorization.rs"))?.1(cast))
}

pub(super) fn success(operation: &str) -> u16 {
    match operation {
        "POST /users" | "POST /credentials" => 201,
        "POST /me/password"
        | "POST /users/{id}/password"
        | "DELETE /users/{id}"
        | "POST /credentials/{id}/revoke"
        | "POST /credentials/{id}/clear-override" => 204,
        _ => 200,
    }
}

/// Makes certain that no operation is missing, and keeps the first admin's password for later.
async fn prepare(api: &Api) -> Result<()> {
    let mutating = documented(&api.contract.document)
        .into_iter()
        .filter(|operation| {
            !operation.starts_with("GET ") && !operation.contains(" /api/") && !operation.contains(" /v1/")
        })
        .collect();
    covers(&mutating, &EVENTS.map(|(operation, ..)| operation), "api/mutations/mod.rs")?;
    api.behind()?.execute("CREATE TABLE kept_password AS SELECT hash FROM passwords WHERE user_id = 1").await?;
    Ok(())
}
