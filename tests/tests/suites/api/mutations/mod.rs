//! Every operation that changes something leaves exactly one record of it, and does nothing where it cannot be recorded.
//!
//! A new mutating operation needs one line in [`EVENTS`], beside its row in the authorization table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::authorization::{ADMINS, Cast, covers, documented, rows};
use super::{ADMIN_EMAIL, Api, PASSWORD, on_both_engines};

on_both_engines! {
    every_change_and_every_refusal_leaves_one_record,
    what_cannot_be_recorded_does_not_happen,
    clients_that_leave_split_no_change_from_its_record,
}

/// A mutating operation, the event of its success, and whether somebody known can be refused it.
const EVENTS: [(&str, &str, bool); 12] = [
    ("POST /auth/login", "login_success", false),
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

const ABORTS: usize = 500;

impl Api {
    fn behind(&self) -> Result<&Database> {
        self.database.as_ref().context("a database")
    }

    /// The types of all events, oldest first.
    async fn history(&self) -> Result<Vec<String>> {
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

    /// How many rows a table has: as many as an edit that changes nothing touches.
    async fn count(&self, table: &str, column: &str) -> Result<u64> {
        self.behind()?.execute(&format!("UPDATE {table} SET {column} = {column}")).await
    }

    /// What the mutating operations change.
    async fn state(&self) -> Result<Value> {
        let users = self.admin("GET /users", 0).query(&[("limit", 200)]).expect(200).await?.json;
        let mut keys = self.admin("GET /credentials", 0).expect(200).await?.json;
        for key in keys.as_array_mut().into_iter().flatten() {
            key["last_used_at"].take();
        }
        let secrets = self.count("credential_secrets", "hash").await?;
        let sessions = self.count("sessions", "user_id").await?;
        Ok(json!([users, keys, secrets, sessions, self.history().await?]))
    }
}

fn covered(api: &Api) -> Result<()> {
    let mutating = documented(&api.contract.document)
        .into_iter()
        .filter(|operation| {
            // A session goes on by its cookie: api/sessions.rs tells of it.
            let by_cookie = operation == "POST /auth/refresh";
            !by_cookie
                && !operation.starts_with("GET ")
                && !operation.contains(" /api/")
                && !operation.contains(" /v1/")
        })
        .collect();
    covers(&mutating, &EVENTS.map(|(operation, ..)| operation), "api/mutations.rs")
}

fn body_of(operation: &str, cast: &Cast) -> Result<Value> {
    let row = rows().into_iter().find(|row| row.0 == operation);
    Ok(row.with_context(|| format!("{operation} has no row in api/authorization.rs"))?.1(cast))
}

/// Sends an operation; as a session of its own where it ends the session.
async fn send(api: &Api, cast: &Cast, operation: &str, credential: &str, target: i64, status: u16) -> Result<String> {
    let request = api.by(credential, operation, target);
    let request = match body_of(operation, cast)? {
        Value::Null => request,
        body => request.json(&body),
    };
    Ok(request.expect(status).await.with_context(|| operation.to_owned())?.body)
}

fn success(operation: &str) -> u16 {
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

async fn every_change_and_every_refusal_leaves_one_record(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    covered(&api)?;
    let cast = Cast::new(&api).await?;
    api.behind()?.execute("CREATE TABLE kept_password AS SELECT hash FROM passwords WHERE user_id = 1").await?;
    let (_, plain) = api.plain_user().await?;
    for (operation, event, refusable) in EVENTS {
        let target = cast.target(&api, operation, ADMINS[0]).await?;
        let session = api.session().await?;
        let before = api.history().await?;
        send(&api, &cast, operation, &session, target, success(operation)).await?;
        let after = api.history().await?;
        assert_eq!(after[before.len()..], [event], "{operation}");
        api.keep_password(operation).await?;
        if refusable {
            send(&api, &cast, operation, &plain, target, 403).await?;
            let refused = api.history().await?;
            assert_eq!(refused[after.len()..], ["access_denied"], "{operation} when it is refused");
        }
    }
    // Nothing changed, nothing to record.
    let before = api.history().await?;
    api.admin("PATCH /users/{id}", 100_000).json(&json!({"display_name": "x"})).expect(404).await?;
    api.admin("POST /users", 0).json(&json!({"email": ADMIN_EMAIL})).expect(409).await?;
    api.admin("POST /users", 0).json(&json!({"email": "nobody"})).expect(422).await?;
    api.admin("POST /credentials/{id}/rotate", 100_000).expect(404).await?;
    assert_eq!(api.history().await?, before);
    Ok(())
}

/// Ways in which the database refuses the record: by a rule of its own, and because there is no room for it.
fn refusals(engine: Engine) -> Vec<(&'static str, &'static str, &'static str)> {
    let drop = "DROP TRIGGER refuse ON audit_logs; DROP FUNCTION refuse";
    match engine {
        Engine::Postgres => vec![
            (
                "a trigger",
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse()",
                drop,
            ),
            (
                "no room",
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse()",
                drop,
            ),
        ],
        Engine::Sqlite => vec![(
            "a trigger",
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_logs BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER refuse",
        )],
    }
}

async fn what_cannot_be_recorded_does_not_happen(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    covered(&api)?;
    let cast = Cast::new(&api).await?;
    api.behind()?.execute("CREATE TABLE kept_password AS SELECT hash FROM passwords WHERE user_id = 1").await?;
    for (way, begin, end) in refusals(engine) {
        for (operation, event, _) in EVENTS {
            let target = cast.target(&api, operation, ADMINS[0]).await?;
            let session = api.session().await?;
            let before = api.state().await?;
            api.behind()?.execute(begin).await?;
            let start = Instant::now();
            let said = send(&api, &cast, operation, &session, target, 503).await.context(way)?;
            ensure!(start.elapsed() <= Duration::from_secs(5), "{operation} took {:?}", start.elapsed());
            ensure!(!said.contains("pdk_") && !said.contains("eyJ"), "{operation} returned a secret: {said}");
            api.behind()?.execute(end).await?;
            assert_eq!(api.state().await?, before, "{operation} with {way}");
            send(&api, &cast, operation, &session, target, success(operation)).await?;
            assert_eq!(api.events(1).await?, [event], "{operation} after {way}");
            api.keep_password(operation).await?;
        }
    }
    Ok(())
}

/// A number below `limit`, any of them.
fn any(limit: usize) -> Result<usize> {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes)?;
    Ok(usize::try_from(u32::from_le_bytes(bytes))? % limit)
}

/// Sends a request, or a part of it, and leaves after a while.
async fn leave(api: &Api, path: &str, body: &Value, patience: Duration) -> Result<()> {
    let address = api.contract.url.strip_prefix("http://").context("an address")?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        api.admin,
        body.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    // Every fourth leaves in the middle of its request.
    let count = if any(4)? == 0 { any(request.len())? } else { request.len() };
    stream.write_all(&request.as_bytes()[..count]).await?;
    // The moment is what the test is about.
    let patience = usize::try_from(patience.as_micros())?.max(1);
    tokio::time::sleep(Duration::from_micros(u64::try_from(any(patience)?)?)).await;
    Ok(())
}

async fn clients_that_leave_split_no_change_from_its_record(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let start = Instant::now();
    let owner = api.user(json!({"roles": ["user"]})).await?;
    // Long enough that many are carried out, five at a time, and short enough that many are not.
    let patience = 5 * start.elapsed();
    let (key, _) = api.key(owner, json!({})).await?;
    // Users, keys, secrets, and the events that each of them leaves.
    let tally = async || -> Result<[u64; 6]> {
        let events = |kind: &'static str| {
            let api = &api;
            async move {
                let query = [("limit", "500"), ("event_type", kind)];
                let found = api.admin("GET /audit", 0).query(&query).expect(200).await?;
                Ok::<_, anyhow::Error>(u64::try_from(found.json.as_array().context("a list")?.len())?)
            }
        };
        let (created, issued, rotated) =
            (events("user_created").await?, events("api_key_issued").await?, events("api_key_rotated").await?);
        let users = api.count("users", "updated_at").await?;
        let keys = api.count("credentials", "label").await?;
        let secrets = api.count("credential_secrets", "hash").await?;
        Ok([users, created, keys, issued, secrets, issued + rotated])
    };
    let before = tally().await?;
    for round in 0..ABORTS / 5 {
        let requests = (0..5).map(|place| {
            let api = &api;
            async move {
                match (round + place) % 3 {
                    0 => {
                        let email = format!("leaver-{round}-{place}@example.com");
                        leave(api, "/users", &json!({"email": email}), patience).await
                    }
                    1 => leave(api, "/credentials", &json!({"user_id": owner}), patience).await,
                    _ => {
                        leave(api, &format!("/credentials/{key}/rotate"), &json!({"grace_seconds": 60}), patience).await
                    }
                }
            }
        });
        futures_util::future::try_join_all(requests).await?;
    }
    let after = eventually("changes and records to agree", Duration::from_secs(20), async || {
        let now = tally().await?;
        let grown: Vec<_> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        ensure!(grown[0] == grown[1] && grown[2] == grown[3] && grown[4] == grown[5], "{grown:?}");
        Ok(grown)
    })
    .await?;
    let done = usize::try_from(after[1] + after[5])?;
    ensure!(done > 20 && done < ABORTS, "{done} of {ABORTS} were carried out, so that nothing was shown: {after:?}");
    let login = json!({"username": ADMIN_EMAIL, "password": PASSWORD});
    api.anonymous("POST /auth/login", 0).json(&login).expect(200).await?;
    Ok(())
}
