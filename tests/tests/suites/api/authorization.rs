//! Who may do what: one table of every operation of the document by every kind of caller, and each cell of it is tried.
//!
//! A new operation needs one line in [`rows`].

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use paddock_tests::database::Engine;
use paddock_tests::fake_ollama::{Script, chat_events, chat_lines};
use serde_json::{Value, json};

use super::{ADMIN_EMAIL, Api, MODEL, PASSWORD, on_both_engines};

on_both_engines! {
    every_operation_answers_every_caller_as_the_table_says,
}

/// Who calls. `user` owns what the path names; `other` is another user.
const IDENTITIES: [&str; 12] = [
    "anonymous",
    "a session without a role",
    "the user's session",
    "another user's session",
    "an admin's session",
    "a disabled user's session",
    "an expired key",
    "a revoked key",
    "the user's key",
    "an admin's key for users:read alone",
    "an admin's key",
    "an admin's retiring key",
];

/// The columns of those who may manage: each of their calls gets something of its own to change.
pub(super) const ADMINS: [usize; 3] = [4, 10, 11];

pub(super) const SCOPES: [&str; 11] = [
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

/// The label of the keys that are revoked many at once.
const BULK: &str = "bulk";

/// An operation, the body it is sent (null: none), and its status for each identity.
pub(super) type Row = (&'static str, fn(&Cast) -> Value, [u16; 12]);

/// The table.
#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    vec![
        //                                                     nobody role user other admin disab expir revok ukey  narrow akey retiring
        ("GET /", nothing,                                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("GET /healthz", nothing,                             [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("GET /readyz", nothing,                              [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("GET /openapi.json", nothing,                        [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("POST /auth/login", login,                           [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("POST /auth/logout", nothing,                        [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("POST /auth/refresh", nothing,                       [401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 401]),
        ("POST /me/password", other_password,                 [401, 204, 204, 204, 204, 401, 401, 401, 403, 403, 403, 403]),
        ("GET /me", nothing,                                  [401, 200, 200, 200, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("GET /users", nothing,                               [401, 403, 403, 403, 200, 401, 401, 401, 403, 200, 200, 200]),
        ("POST /users", new_user,                             [401, 403, 403, 403, 201, 401, 401, 401, 403, 403, 201, 201]),
        ("GET /users/{id}", nothing,                          [401, 403, 200, 403, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("PATCH /users/{id}", new_name,                       [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("DELETE /users/{id}", nothing,                       [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /users/{id}/password", new_password,           [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 403, 403]),
        ("GET /credentials", nothing,                         [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        // What has been rotated away for a day gives no key that lasts.
        ("POST /credentials", new_key,                        [401, 403, 403, 403, 201, 401, 401, 401, 403, 403, 201, 403]),
        ("POST /credentials/{id}/rotate", nothing,            [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 403]),
        ("POST /credentials/{id}/revoke", nothing,            [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /credentials/{id}/clear-override", nothing,    [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /credentials/revoke", by_label,                [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /audit", nothing,                               [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /audit/export", nothing,                        [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /usage", nothing,                               [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /api/version", nothing,                         [401, 200, 200, 200, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("GET /api/tags", nothing,                            [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /v1/models", nothing,                           [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/chat", chat,                              [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/generate", generate,                      [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/embed", embed,                            [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/chat/completions", completion,             [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
    ]
}

fn nothing(_: &Cast) -> Value {
    Value::Null
}

fn login(_: &Cast) -> Value {
    json!({"username": ADMIN_EMAIL, "password": PASSWORD})
}

fn new_password(_: &Cast) -> Value {
    json!({"password": format!("vermilion tapir {}", uuid::Uuid::now_v7().simple())})
}

fn other_password(_: &Cast) -> Value {
    json!({"current_password": PASSWORD, "new_password": format!("vermilion tapir {}", uuid::Uuid::now_v7().simple())})
}

fn new_user(_: &Cast) -> Value {
    json!({"email": format!("new-{}@example.com", uuid::Uuid::now_v7().simple())})
}

fn new_name(_: &Cast) -> Value {
    json!({"display_name": format!("Name {}", uuid::Uuid::now_v7().simple())})
}

fn new_key(cast: &Cast) -> Value {
    json!({"user_id": cast.user})
}

fn by_label(_: &Cast) -> Value {
    json!({"label": BULK})
}

fn chat(_: &Cast) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
}

fn generate(_: &Cast) -> Value {
    json!({"model": MODEL, "prompt": "hi"})
}

fn embed(_: &Cast) -> Value {
    json!({"model": MODEL, "input": "hi"})
}

fn completion(_: &Cast) -> Value {
    json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hi"}]})
}

/// One of each identity.
pub(super) struct Cast {
    /// Who owns what the paths name.
    pub(super) user: i64,
    /// A credential for each identity; none for the anonymous one.
    credentials: [Option<String>; 12],
}

impl Cast {
    pub(super) async fn new(api: &Api) -> Result<Self> {
        let (user, other) = (api.user(json!({"roles": ["user"]})).await?, api.user(json!({"roles": ["user"]})).await?);
        let (nobody, gone) = (api.user(json!({})).await?, api.user(json!({"roles": ["admin"]})).await?);
        let disabled = session_of(api, gone).await?;
        api.admin("PATCH /users/{id}", gone).json(&json!({"is_active": false})).expect(200).await?;
        let boss = api.user(json!({"roles": ["admin"]})).await?;
        let admin_key = async |scopes: &[&str]| api.key(boss, json!({"scopes": scopes})).await;
        let (expired, expired_key) = admin_key(&SCOPES).await?;
        // Its time is over, as if it had been issued long ago.
        let past = format!(
            "UPDATE credential_secrets SET expires_at = issued_at WHERE credential_id = {expired}; \
             UPDATE credentials SET expires_at = created_at WHERE id = {expired}"
        );
        api.database.as_ref().context("a database")?.execute(&past).await?;
        let (revoked, revoked_key) = admin_key(&SCOPES).await?;
        api.admin("POST /credentials/{id}/revoke", revoked).expect(204).await?;
        let (retiring, retiring_key) = admin_key(&SCOPES).await?;
        api.admin("POST /credentials/{id}/rotate", retiring).expect(200).await?;
        let of_user = ["chat", "generate", "embed", "models:read", "users:read", "keys:read", "usage:read"];
        let credentials = [
            None,
            Some(session_of(api, nobody).await?),
            Some(session_of(api, user).await?),
            Some(session_of(api, other).await?),
            Some(session_of(api, boss).await?),
            Some(disabled),
            Some(expired_key),
            Some(revoked_key),
            Some(api.key(user, json!({"scopes": of_user})).await?.1),
            Some(admin_key(&["users:read"]).await?.1),
            Some(admin_key(&SCOPES).await?.1),
            Some(retiring_key),
        ];
        Ok(Self { user, credentials })
    }

    /// What the path of an operation names for this identity: a key or a user of `user`'s. What an admin changes is new
    /// each time.
    pub(super) async fn target(&self, api: &Api, operation: &str, identity: usize) -> Result<i64> {
        let admin = ADMINS.contains(&identity);
        Ok(match operation.split_once(' ').context("a method and a path")? {
            (_, "/credentials/revoke") => api.key(self.user, json!({"label": BULK})).await?.0,
            (_, path) if path.ends_with("/clear-override") => {
                let id = api.key(self.user, json!({})).await?.0;
                let overridden = format!("UPDATE credentials SET overridden_at = created_at WHERE id = {id}");
                api.database.as_ref().context("a database")?.execute(&overridden).await?;
                id
            }
            (_, path) if path.starts_with("/credentials/{id}") => api.key(self.user, json!({})).await?.0,
            (method, path) if path.starts_with("/users/{id}") && method != "GET" && admin => {
                api.user(json!({"roles": ["user"]})).await?
            }
            _ => self.user,
        })
    }

    /// Sends an operation as this identity.
    async fn try_cell(&self, api: &Api, &(operation, body, expected): &Row, identity: usize) -> Result<()> {
        let target = self.target(api, operation, identity).await?;
        let request = match &self.credentials[identity] {
            Some(credential) => api.by(credential, operation, target),
            None => api.anonymous(operation, target),
        };
        let request = match body(self) {
            Value::Null => request,
            body => request.json(&body),
        };
        request.expect(expected[identity]).await.with_context(|| format!("{operation} by {}", IDENTITIES[identity]))?;
        Ok(())
    }
}

/// A session of a user who has been given the first admin's password, past every rule.
pub(super) async fn session_of(api: &Api, user: i64) -> Result<String> {
    let copied = format!(
        "INSERT INTO passwords (user_id, hash, set_at) SELECT {user}, hash, set_at FROM passwords WHERE user_id = 1"
    );
    ensure!(api.database.as_ref().context("a database")?.execute(&copied).await? == 1);
    let username = api.admin("GET /users/{id}", user).expect(200).await?.text("email")?;
    let credentials = json!({"username": username, "password": PASSWORD});
    api.anonymous("POST /auth/login", 0).json(&credentials).expect(200).await?.text("access_token")
}

/// The operations of the document.
pub(super) fn documented(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

/// Says what to add where a table and the document part.
pub(super) fn covers(document: &BTreeSet<String>, table: &[&str], file: &str) -> Result<()> {
    let rows: BTreeSet<String> = table.iter().map(|&row| row.to_owned()).collect();
    ensure!(rows.len() == table.len(), "an operation has two rows in {file}");
    let missing: Vec<_> = document.difference(&rows).collect();
    ensure!(missing.is_empty(), "add a line for each of {missing:?} to the table in {file}");
    let stale: Vec<_> = rows.difference(document).collect();
    ensure!(stale.is_empty(), "openapi.json does not have {stale:?}: take them out of the table in {file}");
    Ok(())
}

pub(super) fn script(api: &Api) {
    api.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
    let end = json!({"model": MODEL, "created_at": "2026-11-24T05:05:53Z", "response": "", "done": true});
    api.fake.answer("/api/generate", Script::ndjson([end]));
    let vector = json!({"model": MODEL, "embeddings": [[0.1]], "prompt_eval_count": 1});
    api.fake.answer("/api/embed", Script::json(StatusCode::OK, &vector));
    api.fake.answer("/v1/chat/completions", Script::events(chat_events(MODEL, 1, true)));
}

async fn every_operation_answers_every_caller_as_the_table_says(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let rows = rows();
    let operations: Vec<_> = rows.iter().map(|row| row.0).collect();
    covers(&documented(&api.contract.document), &operations, "api/authorization.rs")?;
    script(&api);
    let mut cast = Cast::new(&api).await?;
    let mut wrong = Vec::new();
    for row in &rows {
        for identity in 0..IDENTITIES.len() {
            if let Err(error) = Box::pin(cast.try_cell(&api, row, identity)).await {
                wrong.push(format!("{error:#}"));
            }
        }
        // Whoever signed out, or lost a password, is there again for the next row.
        if row.0.starts_with("POST /auth/") || row.0.starts_with("POST /me/") {
            cast = Cast::new(&api).await?;
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {} cells:\n{}", wrong.len(), rows.len() * IDENTITIES.len(), wrong.join("\n"));
    }
    Ok(())
}
