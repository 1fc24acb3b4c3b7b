//! One table of every documented operation by every kind of caller. A story tries each cell.
//!
//! A new operation needs one line in [`rows`].

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use paddock_api::Config;
use paddock_tests::{database::Engine, paddock::SCOPES, random::random_below, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{ADMIN_EMAIL, Api, MODEL, PASSWORD, ollama_scripts::script_ollama};

/// The kinds of caller. "The user" owns the row that the path names.
pub(super) const IDENTITIES: [&str; 12] = [
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

/// The columns of the callers that may manage. Each of their requests gets its own row to change.
pub(super) const ADMIN_COLUMNS: [usize; 3] = [4, 10, 11];

/// The label of the keys of a bulk revocation.
const BULK: &str = "bulk";

/// An operation, its body (null for none), and its status for each kind of caller.
pub(super) type Row = (&'static str, fn(&Callers) -> Value, [u16; 12]);

/// The table.
#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    vec![
        // nobody role user other admin disab expir revok ukey narrow akey retiring
        ("GET /", nothing,                                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("GET /healthz", nothing,                             [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("GET /readyz", nothing,                              [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("GET /openapi.json", nothing,                        [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("POST /auth/login", login,                           [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("POST /auth/logout", nothing,                        [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("POST /auth/refresh", nothing,                       [401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 401]),
        ("POST /me/password", other_password,                 [401, 204, 204, 204, 204, 401, 401, 401, 403, 403, 403, 403]),
        ("GET /me", nothing,                                  [401, 200, 200, 200, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("GET /me/usage", nothing,                            [401, 200, 200, 200, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("GET /users", nothing,                               [401, 403, 403, 403, 200, 401, 401, 401, 403, 200, 200, 200]),
        ("POST /users", new_user,                             [401, 403, 403, 403, 201, 401, 401, 401, 403, 403, 201, 201]),
        ("GET /users/{id}", nothing,                          [401, 403, 200, 403, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("PATCH /users/{id}", new_name,                       [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("DELETE /users/{id}", nothing,                       [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /users/{id}/password", new_password,           [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 403, 403]),
        ("GET /credentials", nothing,                         [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /credentials/{id}", nothing,                    [401, 403, 200, 403, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /credentials/{id}/end-grace", nothing,         [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        // A retiring key changes, issues and rotates no key that outlives it.
        ("PATCH /credentials/{id}", by_label,                 [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 403]),
        ("POST /credentials", new_key,                        [401, 403, 403, 403, 201, 401, 401, 401, 403, 403, 201, 403]),
        ("POST /credentials/{id}/rotate", nothing,            [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 403]),
        // Of another key; a key may revoke itself, as a table below says.
        ("POST /credentials/{id}/revoke", nothing,            [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /credentials/{id}/clear-override", nothing,    [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /credentials/revoke", by_label,                [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /audit", nothing,                               [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /audit/export", nothing,                        [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /audit/chain", nothing,                         [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /usage", nothing,                               [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /usage/export", nothing,                        [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /models", nothing,                              [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /manifests/users", nothing,                     [401, 403, 403, 403, 200, 401, 401, 401, 403, 200, 200, 200]),
        ("GET /manifests/keys", nothing,                      [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /manifests/models", nothing,                    [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("DELETE /models/{name}", nothing,                    [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("POST /models/pull", new_pull,                       [401, 403, 403, 403, 202, 401, 401, 401, 403, 403, 202, 202]),
        ("GET /models/pull", nothing,                         [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /models/pull/{id}", nothing,                    [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("GET /models/pull/{id}/events", nothing,             [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("DELETE /models/pull/{id}", nothing,                 [401, 403, 403, 403, 204, 401, 401, 401, 403, 403, 204, 204]),
        ("GET /api/version", nothing,                         [401, 200, 200, 200, 200, 401, 401, 401, 200, 200, 200, 200]),
        ("GET /api/tags", nothing,                            [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /v1/models", nothing,                           [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/chat", chat,                              [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/generate", generate,                      [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/embed", embed,                            [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/pull", new_pull,                          [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("DELETE /api/delete", known_model,                   [401, 403, 403, 403, 200, 401, 401, 401, 403, 403, 200, 200]),
        ("POST /v1/chat/completions", completion,             [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /api/ps", nothing,                              [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/show", show,                              [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /api/embeddings", generate,                    [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /v1/models/{model}", nothing,                   [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/completions", generate,                    [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/embeddings", embed,                        [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/responses", embed,                         [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/responses/compact", embed,                 [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/messages", message,                        [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /v1/messages/count_tokens", message,           [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("GET /ollama/models", nothing,                       [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /ollama/chat", generate,                       [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
        ("POST /ollama/embeddings", embed,                    [401, 403, 200, 200, 200, 401, 401, 401, 200, 403, 200, 200]),
    ]
}

fn nothing(_: &Callers) -> Value {
    Value::Null
}

fn login(_: &Callers) -> Value {
    json!({"username": ADMIN_EMAIL, "password": PASSWORD})
}

fn new_password(_: &Callers) -> Value {
    json!({"password": format!("vermilion tapir {}", uuid::Uuid::now_v7().simple())})
}

fn other_password(_: &Callers) -> Value {
    json!({"current_password": PASSWORD, "new_password": format!("vermilion tapir {}", uuid::Uuid::now_v7().simple())})
}

fn new_user(_: &Callers) -> Value {
    json!({"email": format!("new-{}@example.com", uuid::Uuid::now_v7().simple())})
}

fn new_name(_: &Callers) -> Value {
    json!({"display_name": format!("Name {}", uuid::Uuid::now_v7().simple())})
}

fn new_key(callers: &Callers) -> Value {
    json!({"user_id": callers.user})
}

fn by_label(_: &Callers) -> Value {
    json!({"label": BULK})
}

fn known_model(_: &Callers) -> Value {
    json!({"model": MODEL})
}

fn new_pull(_: &Callers) -> Value {
    json!({"model": format!("m-{}", uuid::Uuid::now_v7().simple())})
}

fn chat(_: &Callers) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
}

fn generate(_: &Callers) -> Value {
    json!({"model": MODEL, "prompt": "hi"})
}

fn embed(_: &Callers) -> Value {
    json!({"model": MODEL, "input": "hi"})
}

fn show(_: &Callers) -> Value {
    json!({"model": MODEL})
}

fn message(_: &Callers) -> Value {
    json!({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})
}

fn completion(_: &Callers) -> Value {
    json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hi"}]})
}

/// One caller of each kind.
pub(super) struct Callers {
    /// The user that owns the rows that the paths name.
    pub(super) user: i64,
    /// A credential for each kind of caller; none for the anonymous one.
    pub(super) credentials: [Option<String>; 12],
}

impl Callers {
    pub(super) async fn new(api: &Api) -> Result<Self> {
        let (user, other) = (api.user(json!({"roles": ["user"]})).await?, api.user(json!({"roles": ["user"]})).await?);
        let (nobody, gone) = (api.user(json!({})).await?, api.user(json!({"roles": ["admin"]})).await?);
        let disabled = session_of(api, gone).await?;
        api.admin().patch(format!("/users/{gone}")).json(&json!({"is_active": false})).expect(200).await?;
        let boss = api.user(json!({"roles": ["admin"]})).await?;
        let admin_key = async |scopes: &[&str]| api.key(boss, json!({"scopes": scopes})).await;
        let (expired, expired_key) = admin_key(&SCOPES).await?;
        // Expired, as if the key had been issued long ago.
        let past = format!(
            "UPDATE credential_secrets SET expires_at = issued_at WHERE credential_id = {expired}; \
             UPDATE credentials SET expires_at = created_at WHERE id = {expired}"
        );
        api.database()?.execute(&past).await?;
        let (revoked, revoked_key) = admin_key(&SCOPES).await?;
        api.admin().post(format!("/credentials/{revoked}/revoke")).expect(204).await?;
        let (retiring, retiring_key) = admin_key(&SCOPES).await?;
        api.admin().post(format!("/credentials/{retiring}/rotate")).expect(200).await?;
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

    /// The id for the path of an operation: the user, or a key of the user. An admin changes a new
    /// row each time.
    pub(super) async fn target(&self, api: &Api, operation: &str, identity: usize) -> Result<i64> {
        let admin = ADMIN_COLUMNS.contains(&identity);
        Ok(match operation.split_once(' ').context("a method and a path")? {
            (_, "/credentials/revoke") => api.key(self.user, json!({"label": BULK})).await?.0,
            (_, path) if path.ends_with("/clear-override") => {
                let id = api.key(self.user, json!({})).await?.0;
                let overridden = format!("UPDATE credentials SET overridden_at = created_at WHERE id = {id}");
                api.database()?.execute(&overridden).await?;
                id
            }
            (_, path) if path.ends_with("/end-grace") => {
                let id = api.key(self.user, json!({})).await?.0;
                api.admin().post(format!("/credentials/{id}/rotate")).expect(200).await?;
                id
            }
            (_, "/models/{name}") => {
                let id = i64::try_from(random_below(1 << 40))?;
                api.fake.add_model(&model_name(id));
                id
            }
            (_, path) if path.starts_with("/models/pull/{id}") => {
                let id = api.admin().post("/models/pull").json(&new_pull(self)).expect(202).await?.id("job")?;
                if path.ends_with("/events") {
                    // The events of a pull that has ended end too.
                    api.admin().delete(format!("/models/pull/{id}")).expect(204).await?;
                }
                id
            }
            (_, path) if path.starts_with("/credentials/{id}") => api.key(self.user, json!({})).await?.0,
            (method, path) if path.starts_with("/users/{id}") && method != "GET" && admin => {
                api.user(json!({"roles": ["user"]})).await?
            }
            _ => self.user,
        })
    }

    /// Sends an operation as this kind of caller.
    async fn check_cell(&self, api: &Api, &(operation, body, expected): &Row, identity: usize) -> Result<()> {
        let target = self.target(api, operation, identity).await?;
        let request = match &self.credentials[identity] {
            Some(credential) => api.by(credential).operation(operation, target),
            None => api.anonymous().operation(operation, target),
        };
        let request = match body(self) {
            Value::Null => request,
            body => request.json(&body),
        };
        request.expect(expected[identity]).await.with_context(|| format!("{operation} by {}", IDENTITIES[identity]))?;
        Ok(())
    }
}

/// A session of a user, which gets the first admin's password directly in the database.
pub(super) async fn session_of(api: &Api, user: i64) -> Result<String> {
    let copied = format!(
        "INSERT INTO passwords (user_id, hash, set_at) SELECT {user}, hash, set_at FROM passwords WHERE user_id = 1"
    );
    ensure!(api.database()?.execute(&copied).await? == 1);
    let username = api.admin().get(format!("/users/{user}")).expect(200).await?.text("email")?;
    let credentials = json!({"username": username, "password": PASSWORD});
    api.anonymous().post("/auth/login").json(&credentials).expect(200).await?.text("access_token")
}

/// All operations of the document.
pub(super) fn documented_operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

/// Asserts that a table has one row for each operation of the document.
///
/// Errors: the missing and the stale rows.
pub(super) fn assert_covers(document: &BTreeSet<String>, table: &[&str], file: &str) -> Result<()> {
    let rows: BTreeSet<String> = table.iter().map(|&row| row.to_owned()).collect();
    ensure!(rows.len() == table.len(), "an operation has two rows in {file}");
    let missing: Vec<_> = document.difference(&rows).collect();
    ensure!(missing.is_empty(), "add a line for each of {missing:?} to the table in {file}");
    let stale: Vec<_> = rows.difference(document).collect();
    ensure!(stale.is_empty(), "openapi.json does not have {stale:?}: take them out of the table in {file}");
    Ok(())
}

/// The model that an operation with `{name}` in its path names.
pub(super) fn model_name(id: i64) -> String {
    format!("model-{id}:latest")
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_every_kind_of_caller_as_the_table_says(#[case] engine: Engine) {
    story(async {
        // Pulls run, so that an answer that waits for one ends.
        let api = Api::start_with(engine, |config| Config { max_pulls: 2, ..config }).await?;
        let rows = rows();
        let operations: Vec<_> = rows.iter().map(|row| row.0).collect();
        assert_covers(&documented_operations(&api.contract.document), &operations, "api/authorization.rs")?;
        script_ollama(&api);
        let mut callers = Callers::new(&api).await?;
        let mut wrong = Vec::new();
        for row in &rows {
            for identity in 0..IDENTITIES.len() {
                if let Err(error) = Box::pin(callers.check_cell(&api, row, identity)).await {
                    wrong.push(format!("{error:#}"));
                }
            }
            // These operations end sessions and change passwords: the next row needs new callers.
            if row.0.starts_with("POST /auth/") || row.0.starts_with("POST /me/") {
                callers = Callers::new(&api).await?;
            }
        }
        if !wrong.is_empty() {
            bail!("{} of {} cells:\n{}", wrong.len(), rows.len() * IDENTITIES.len(), wrong.join("\n"));
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::users_key(&["user"], &["chat"], 204)]
#[case::key_without_a_scope(&["user"], &[], 204)]
#[case::key_of_a_user_without_a_role(&[], &["chat"], 204)]
#[case::narrow_key_of_an_admin(&["admin"], &["users:read"], 204)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_revokes_itself_and_no_other(
    #[values(Engine::Postgres, Engine::Sqlite)] engine: Engine,
    #[case] roles: &[&str],
    #[case] scopes: &[&str],
    #[case] expected: u16,
) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": roles})).await?;
        let (own, key) = api.key(user, json!({"scopes": scopes})).await?;
        let (other, _) = api.key(user, json!({"scopes": scopes})).await?;
        api.by(&key).post(format!("/credentials/{other}/revoke")).expect(403).await?;
        api.by(&key).post(format!("/credentials/{own}/revoke")).expect(expected).await?;
        api.by(&key).post(format!("/credentials/{own}/revoke")).expect(401).await?;
        let actors = "SELECT actor FROM audit_logs WHERE event_type = 'api_key_revoked'";
        assert_eq!(api.database()?.texts(actors).await?, [format!("key:{own}")]);
        Ok(())
    })
    .await;
}
