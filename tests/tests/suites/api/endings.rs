//! Rights that end while a request is under way: what of it comes later does nothing.
//!
//! A new operation with a body is tried by itself, with the body of its row in the authorization table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::audit::grow;
use super::authorization::{ADMINS, Cast, SCOPES, documented, script, session_of};
use super::mutations::{body_of, success};
use super::{Api, on_both_engines};

on_both_engines! {
    a_body_that_comes_after_the_right_has_ended_changes_nothing,
    work_that_is_asked_for_after_the_right_has_ended_reaches_no_model,
    an_export_ends_with_the_right_to_it,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A way in which a right ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Revoked,
    RotatedAway,
    LoggedOut,
    Disabled,
    Deleted,
    Demoted,
    Narrowed,
}

/// Who sends something.
struct Actor {
    user: i64,
    /// The id of its key, if that is what it sends.
    key: i64,
    credential: String,
}

impl Actor {
    async fn with_key(api: &Api, role: &str) -> Result<Self> {
        let user = api.user(json!({"roles": [role]})).await?;
        let scopes = if role == "admin" { json!(SCOPES) } else { json!(["chat", "generate", "embed"]) };
        let (key, credential) = api.key(user, json!({"scopes": scopes})).await?;
        Ok(Self { user, key, credential })
    }

    async fn with_session(api: &Api) -> Result<Self> {
        let user = api.user(json!({"roles": ["admin"]})).await?;
        Ok(Self { user, key: 0, credential: session_of(api, user).await? })
    }

    /// Whose right ends so, or does not.
    async fn whose_right_ends(api: &Api, end: Option<End>, by_session: bool) -> Result<Self> {
        if by_session || matches!(end, Some(End::LoggedOut)) {
            Self::with_session(api).await
        } else {
            Self::with_key(api, "admin").await
        }
    }

    async fn lose(&self, api: &Api, end: End) -> Result<()> {
        let patch = async |body| api.admin("PATCH /users/{id}", self.user).json(&body).expect(200).await;
        match end {
            End::Revoked => api.admin("POST /credentials/{id}/revoke", self.key).expect(204).await?,
            End::RotatedAway => {
                let at_once = json!({"grace_seconds": 0});
                api.admin("POST /credentials/{id}/rotate", self.key).json(&at_once).expect(200).await?
            }
            End::LoggedOut => api.by(&self.credential, "POST /auth/logout", 0).expect(200).await?,
            End::Disabled => patch(json!({"is_active": false})).await?,
            End::Deleted => api.admin("DELETE /users/{id}", self.user).expect(204).await?,
            End::Demoted => patch(json!({"roles": []})).await?,
            End::Narrowed => patch(json!({"models": []})).await?,
        };
        Ok(())
    }
}

/// A request whose head has been judged, and whose body is awaited.
struct Underway {
    stream: TcpStream,
    body: String,
}

impl Underway {
    async fn begin(api: &Api, operation: &str, id: i64, credential: &str, body: &Value) -> Result<Self> {
        let (method, path) = operation.split_once(' ').context("a method and a path")?;
        let path = path.replace("{id}", &id.to_string());
        let address = api.contract.url.strip_prefix("http://").context("an address")?;
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {credential}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        // The body is asked for when somebody begins to read it.
        let asked = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut told = vec![0; asked.len()];
        timeout(PATIENCE, stream.read_exact(&mut told)).await.context("nobody wants the body")??;
        ensure!(told == asked, "{operation}: {}", String::from_utf8_lossy(&told));
        Ok(Self { stream, body })
    }

    /// Sends the body: the answer's status, and the answer.
    async fn finish(mut self) -> Result<(u16, String)> {
        self.stream.write_all(self.body.as_bytes()).await?;
        let mut answer = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut answer)).await.context("no answer")??;
        let answer = String::from_utf8(answer)?;
        let status = answer.split(' ').nth(1).context("a status")?.parse()?;
        Ok((status, answer))
    }
}

/// The operations of someone known that have a body, of the gateway or of the rest.
fn with_bodies(document: &Value, gateway: bool) -> Vec<String> {
    let has_body = |operation: &String| {
        let (method, path) = operation.split_once(' ').unwrap_or_default();
        let described = &document["paths"][path][method.to_lowercase()];
        let of_gateway = path.starts_with("/api/") || path.starts_with("/v1/");
        described["requestBody"].is_object() && path != "/auth/login" && of_gateway == gateway
    };
    documented(document).into_iter().filter(has_body).collect()
}

/// The body of an operation's row; where it can be left out, one that says nothing.
fn body(operation: &str, cast: &Cast) -> Result<Value> {
    Ok(match body_of(operation, cast)? {
        Value::Null => json!({}),
        body => body,
    })
}

async fn a_body_that_comes_after_the_right_has_ended_changes_nothing(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let cast = Cast::new(&api).await?;
    let operations = with_bodies(&api.contract.document, false);
    ensure!(operations.len() >= 7, "{operations:?}");
    for operation in operations {
        // No key may set a password. A session ends with the role that it began with.
        let ends = if operation.ends_with("/password") {
            vec![(true, None), (true, Some((End::LoggedOut, 401))), (true, Some((End::Demoted, 401)))]
        } else {
            let by_key = [
                (End::Revoked, 401),
                (End::RotatedAway, 401),
                (End::Disabled, 401),
                (End::Deleted, 401),
                (End::Demoted, 403),
            ];
            let by_key = by_key.into_iter().map(|end| (false, Some(end)));
            [(false, None), (true, Some((End::LoggedOut, 401)))].into_iter().chain(by_key).collect()
        };
        for (by_session, end) in ends {
            let actor = Actor::whose_right_ends(&api, end.map(|(end, _)| end), by_session).await?;
            let target = cast.target(&api, &operation, ADMINS[0]).await?;
            let underway =
                Underway::begin(&api, &operation, target, &actor.credential, &body(&operation, &cast)?).await?;
            let Some((end, expected)) = end else {
                let (status, answer) = underway.finish().await?;
                ensure!(status == success(&operation), "{operation} while the right goes on: {answer}");
                continue;
            };
            actor.lose(&api, end).await?;
            let (mut before, mut events) = (api.state().await?, api.history().await?);
            let (status, answer) = underway.finish().await?;
            ensure!(status == expected, "{operation}, {end:?}: {answer}");
            let mut after = api.state().await?;
            if expected == 403 {
                // The refusal is recorded, and nothing else has changed.
                events.push("access_denied".to_owned());
                for state in [&mut before, &mut after] {
                    state.retain(|table, _| !table.starts_with("audit_"));
                }
            }
            assert_eq!(api.history().await?, events, "{operation}, {end:?}");
            assert_eq!(after, before, "{operation}, {end:?}");
        }
    }
    Ok(())
}

async fn work_that_is_asked_for_after_the_right_has_ended_reaches_no_model(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    script(&api);
    let cast = Cast::new(&api).await?;
    let operations = with_bodies(&api.contract.document, true);
    ensure!(operations.len() >= 4, "{operations:?}");
    let begin = async |operation: &str, actor: &Actor| {
        Underway::begin(&api, operation, 0, &actor.credential, &body(operation, &cast)?).await
    };
    for operation in &operations {
        for (end, expected) in [
            (End::Revoked, 401),
            (End::RotatedAway, 401),
            (End::Disabled, 401),
            (End::Deleted, 401),
            (End::Demoted, 403),
            (End::Narrowed, 404),
        ] {
            let actor = Actor::with_key(&api, "user").await?;
            let underway = begin(operation, &actor).await?;
            actor.lose(&api, end).await?;
            let (status, answer) = underway.finish().await?;
            ensure!(status == expected, "{operation}, {end:?}: {answer}");
        }
    }
    ensure!(api.fake.work().is_empty(), "{:?}", api.fake.work());
    for operation in &operations {
        let (status, answer) = begin(operation, &Actor::with_key(&api, "user").await?).await?.finish().await?;
        ensure!(status == 200, "{operation} while the right goes on: {answer}");
    }
    assert_eq!(api.fake.work().len(), operations.len());
    Ok(())
}

async fn an_export_ends_with_the_right_to_it(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    // More than any buffer between the two takes.
    api.database.as_ref().context("a database")?.execute(&grow(engine, 60_000)).await?;
    for end in [End::Revoked, End::LoggedOut, End::Demoted] {
        let actor = Actor::whose_right_ends(&api, Some(end), false).await?;
        let url = format!("{}/audit/export", api.contract.url);
        let request = reqwest::Client::new().get(url).bearer_auth(&actor.credential);
        let mut answer = request.send().await?.error_for_status()?;
        answer.chunk().await?.context("a piece")?;
        actor.lose(&api, end).await?;
        let start = Instant::now();
        // An error, so that nobody takes a part for the whole.
        while let Ok(piece) = answer.chunk().await {
            ensure!(piece.is_some(), "{end:?}: it came to its end");
        }
        ensure!(start.elapsed() < Duration::from_secs(5), "{end:?}: it took {:?}", start.elapsed());
    }
    Ok(())
}
