//! Rights that end during a request: the rest of the request has no effect.
//!
//! New operations with a body are covered automatically, with the body of their row in the
//! authorization table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, paddock::SCOPES, story::story};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    Api,
    audit::grow,
    authorization::{ADMIN_COLUMNS, Callers, documented_operations, session_of},
    mutations::{body_of, success},
    ollama_scripts::script_ollama,
};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How a caller loses its right.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Revoked,
    RotatedAway,
    LoggedOut,
    Disabled,
    Deleted,
    Demoted,
    Narrowed,
}

/// The sender of a request.
struct Sender {
    user: i64,
    /// The id of its key; 0 for a session.
    key: i64,
    credential: String,
}

impl Sender {
    async fn with_key(api: &Api, role: &str) -> Result<Self> {
        let user = api.user(json!({"roles": [role]})).await?;
        let scopes = if role == "admin" { json!(SCOPES) } else { json!(["chat", "generate", "embed", "models:read"]) };
        let (key, credential) = api.key(user, json!({"scopes": scopes})).await?;
        Ok(Self { user, key, credential })
    }

    async fn with_session(api: &Api) -> Result<Self> {
        let user = api.user(json!({"roles": ["admin"]})).await?;
        Ok(Self { user, key: 0, credential: session_of(api, user).await? })
    }

    /// A sender that can lose its right this way.
    async fn that_can_lose(api: &Api, end: Option<Loss>, by_session: bool) -> Result<Self> {
        if by_session || matches!(end, Some(Loss::LoggedOut)) {
            Self::with_session(api).await
        } else {
            Self::with_key(api, "admin").await
        }
    }

    async fn lose(&self, api: &Api, end: Loss) -> Result<()> {
        let patch = async |body| api.admin().patch(format!("/users/{}", self.user)).json(&body).expect(200).await;
        match end {
            Loss::Revoked => api.admin().post(format!("/credentials/{}/revoke", self.key)).expect(204).await?,
            Loss::RotatedAway => {
                let at_once = json!({"grace_seconds": 0});
                api.admin().post(format!("/credentials/{}/rotate", self.key)).json(&at_once).expect(200).await?
            }
            Loss::LoggedOut => api.by(&self.credential).post("/auth/logout").expect(200).await?,
            Loss::Disabled => patch(json!({"is_active": false})).await?,
            Loss::Deleted => api.admin().delete(format!("/users/{}", self.user)).expect(204).await?,
            Loss::Demoted => patch(json!({"roles": []})).await?,
            Loss::Narrowed => patch(json!({"models": []})).await?,
        };
        Ok(())
    }
}

/// A request that is authorized by its headers; the server is waiting for its body.
struct PendingRequest {
    stream: TcpStream,
    body: String,
}

impl PendingRequest {
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
        // The server asks for the body when the handler begins to read it.
        let asked = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut told = vec![0; asked.len()];
        timeout(ANSWER_TIMEOUT, stream.read_exact(&mut told)).await.context("the body is not read")??;
        ensure!(told == asked, "{operation}: {}", String::from_utf8_lossy(&told));
        Ok(Self { stream, body })
    }

    /// Sends the body, and returns the status and the answer.
    async fn finish(mut self) -> Result<(u16, String)> {
        self.stream.write_all(self.body.as_bytes()).await?;
        let mut answer = Vec::new();
        timeout(ANSWER_TIMEOUT, self.stream.read_to_end(&mut answer)).await.context("no answer")??;
        let answer = String::from_utf8(answer)?;
        let status = answer.split(' ').nth(1).context("a status")?.parse()?;
        Ok((status, answer))
    }
}

/// The operations of the gateway that are for admins, and run no model.
const FOR_ADMINS: [&str; 2] = ["POST /api/pull", "DELETE /api/delete"];

/// The authenticated operations with a body: those that run or show a model, or all others.
fn with_bodies(document: &Value, with_model: bool) -> Vec<String> {
    let has_body = |operation: &String| {
        let (method, path) = operation.split_once(' ').unwrap_or_default();
        let described = &document["paths"][path][method.to_lowercase()];
        let of_gateway = ["/api/", "/v1/", "/ollama/"].iter().any(|prefix| path.starts_with(prefix));
        let runs_model = of_gateway && !FOR_ADMINS.contains(&operation.as_str());
        described["requestBody"].is_object() && path != "/auth/login" && runs_model == with_model
    };
    documented_operations(document).into_iter().filter(has_body).collect()
}

/// The body of an operation's row; an empty object if the body is optional.
fn body(operation: &str, callers: &Callers) -> Result<Value> {
    Ok(match body_of(operation, callers)? {
        Value::Null => json!({}),
        body => body,
    })
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_arrives_after_the_right_has_ended_changes_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let callers = Callers::new(&api).await?;
        let operations = with_bodies(&api.contract.document, false);
        ensure!(operations.len() >= 7, "{operations:?}");
        for operation in operations {
            // Setting a password needs a session. A change of roles ends a session.
            let ends = if operation.ends_with("/password") {
                vec![(true, None), (true, Some((Loss::LoggedOut, 401))), (true, Some((Loss::Demoted, 401)))]
            } else {
                let by_key = [
                    (Loss::Revoked, 401),
                    (Loss::RotatedAway, 401),
                    (Loss::Disabled, 401),
                    (Loss::Deleted, 401),
                    (Loss::Demoted, 403),
                ];
                let by_key = by_key.into_iter().map(|end| (false, Some(end)));
                // With the right, a pull lasts until it runs, which it does not here.
                let with_right = (!FOR_ADMINS.contains(&operation.as_str())).then_some((false, None));
                with_right.into_iter().chain([(true, Some((Loss::LoggedOut, 401)))]).chain(by_key).collect()
            };
            for (by_session, end) in ends {
                let sender = Sender::that_can_lose(&api, end.map(|(end, _)| end), by_session).await?;
                let target = callers.target(&api, &operation, ADMIN_COLUMNS[0]).await?;
                let pending =
                    PendingRequest::begin(&api, &operation, target, &sender.credential, &body(&operation, &callers)?)
                        .await?;
                let Some((end, expected)) = end else {
                    let (status, answer) = pending.finish().await?;
                    ensure!(status == success(&operation), "{operation} with the right: {answer}");
                    continue;
                };
                sender.lose(&api, end).await?;
                let (mut before, mut events) = (api.state().await?, api.history().await?);
                let (status, answer) = pending.finish().await?;
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
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_inference_request_whose_right_has_ended_reaches_no_model(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        script_ollama(&api);
        let callers = Callers::new(&api).await?;
        let operations = with_bodies(&api.contract.document, true);
        ensure!(operations.len() >= 4, "{operations:?}");
        let begin = async |operation: &str, sender: &Sender| {
            PendingRequest::begin(&api, operation, 0, &sender.credential, &body(operation, &callers)?).await
        };
        for operation in &operations {
            for (end, expected) in [
                (Loss::Revoked, 401),
                (Loss::RotatedAway, 401),
                (Loss::Disabled, 401),
                (Loss::Deleted, 401),
                (Loss::Demoted, 403),
                (Loss::Narrowed, 404),
            ] {
                let sender = Sender::with_key(&api, "user").await?;
                let pending = begin(operation, &sender).await?;
                sender.lose(&api, end).await?;
                let (status, answer) = pending.finish().await?;
                ensure!(status == expected, "{operation}, {end:?}: {answer}");
            }
        }
        ensure!(api.fake.inference_requests().is_empty(), "{:?}", api.fake.inference_requests());
        for operation in &operations {
            let (status, answer) = begin(operation, &Sender::with_key(&api, "user").await?).await?.finish().await?;
            ensure!(status == 200, "{operation} with the right: {answer}");
        }
        assert_eq!(api.fake.inference_requests().len(), operations.len());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_with_the_right_to_it(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        // More rows than the buffers between server and client hold.
        api.database()?.execute(&grow(engine, 60_000)).await?;
        for end in [Loss::Revoked, Loss::LoggedOut, Loss::Demoted] {
            let sender = Sender::that_can_lose(&api, Some(end), false).await?;
            let url = format!("{}/audit/export", api.contract.url);
            let request = reqwest::Client::new().get(url).bearer_auth(&sender.credential);
            let mut answer = request.send().await?.error_for_status()?;
            answer.chunk().await?.context("a piece")?;
            sender.lose(&api, end).await?;
            let start = Instant::now();
            // The stream ends with an error, so that a part is not mistaken for the whole.
            while let Ok(piece) = answer.chunk().await {
                ensure!(piece.is_some(), "{end:?}: the export was completed");
            }
            ensure!(start.elapsed() < Duration::from_secs(5), "{end:?}: it took {:?}", start.elapsed());
        }
        Ok(())
    })
    .await;
}
