//! Clients that disconnect at any moment: their mutation happens with its audit event, or not at
//! all.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    random::random_below,
    story::{soak_or, story},
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::{
        ADMIN_EMAIL, Api, PASSWORD,
        authorization::{assert_covers, model_name},
    },
    EVENTS, Session, prepare,
};

/// The number of clients that disconnect at the same time.
const GROUP: usize = 5;

/// The number of clients that disconnect.
fn disconnects() -> usize {
    soak_or(500, 60)
}

/// A mutating operation, its body, and a query that counts whether it was done, for the row `{id}`
/// or the mark `{mark}`.
type Row = (&'static str, fn(&str) -> Value, &'static str);

const SET: &str = "SELECT count(*) FROM passwords WHERE user_id = {id} AND hash <> (SELECT hash FROM kept_password)";
const REVOKED: &str = "SELECT count(*) FROM credentials WHERE id = {id} AND revoked_at IS NOT NULL";

#[rustfmt::skip]
const ROWS: [Row; 18] = [
    ("POST /auth/login", |mark| json!({"username": email(mark), "password": PASSWORD}),
     "SELECT count(*) FROM sessions WHERE user_agent = '{mark}'"),
    ("POST /auth/refresh", nothing,
     "SELECT count(*) FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE s.user_id = {id} AND t.consumed_at IS NOT NULL"),
    ("POST /auth/logout", nothing, "SELECT count(*) FROM sessions WHERE user_id = {id} AND ended_at IS NOT NULL"),
    ("POST /me/password", |mark| json!({"current_password": PASSWORD, "new_password": format!("vermilion tapir {mark}")}), SET),
    ("POST /users/{id}/password", |mark| json!({"password": format!("vermilion tapir {mark}")}), SET),
    ("POST /users", |mark| json!({"email": email(mark)}), "SELECT count(*) FROM users WHERE email = '{mark}@example.com'"),
    ("PATCH /users/{id}", |mark| json!({"display_name": mark}), "SELECT count(*) FROM users WHERE display_name = '{mark}'"),
    ("DELETE /users/{id}", nothing, "SELECT count(*) FROM users WHERE id = {id} AND deleted_at IS NOT NULL"),
    ("POST /credentials", |mark| json!({"user_id": 1, "label": mark}), "SELECT count(*) FROM credentials WHERE label = '{mark}'"),
    ("POST /credentials/revoke", |mark| json!({"label": mark}), REVOKED),
    ("PATCH /credentials/{id}", |mark| json!({"label": format!("new {mark}")}),
     "SELECT count(*) FROM credentials WHERE id = {id} AND label LIKE 'new %'"),
    (END_GRACE, nothing, "SELECT count(*) FROM credentials c WHERE id = {id} AND NOT EXISTS \
     (SELECT 1 FROM credential_secrets WHERE credential_id = c.id AND state = 'retiring')"),
    ("POST /credentials/{id}/clear-override", nothing,
     "SELECT count(*) FROM credentials WHERE id = {id} AND overridden_at IS NULL"),
    ("POST /credentials/{id}/rotate", nothing, "SELECT count(*) - 1 FROM credential_secrets WHERE credential_id = {id}"),
    ("POST /credentials/{id}/revoke", nothing, REVOKED),
    ("POST /models/pull", |mark| json!({"model": mark}), "SELECT count(*) FROM pull_jobs WHERE written LIKE '%/{mark}:latest'"),
    ("DELETE /models/pull/{id}", nothing, "SELECT count(*) FROM pull_jobs WHERE id = {id} AND state = 'cancelled'"),
    (DELETE_MODEL, nothing, ""),
];

const END_GRACE: &str = "POST /credentials/{id}/end-grace";
/// Ollama, not the database, shows whether this operation was done.
const DELETE_MODEL: &str = "DELETE /models/{name}";

fn nothing(_: &str) -> Value {
    Value::Null
}

fn email(mark: &str) -> String {
    format!("{mark}@example.com")
}

/// A client with a prepared request.
struct LeavingClient {
    row: Row,
    /// The request's id, its User-Agent, and the name of the created row.
    mark: String,
    target: i64,
    credential: String,
}

impl LeavingClient {
    /// Prepares a row for the client to change.
    async fn new(api: &Api, row: Row, mark: String) -> Result<Self> {
        let (mut target, mut credential) = (0, format!("authorization: Bearer {}", api.admin));
        match row.0 {
            "POST /auth/login" => target = with_password(api, &mark).await?,
            "POST /auth/refresh" | "POST /auth/logout" | "POST /me/password" => {
                target = with_password(api, &mark).await?;
                let session = Session::begin(api, &email(&mark)).await?;
                credential = if row.0 == "POST /auth/refresh" {
                    format!("cookie: {}", session.cookie)
                } else {
                    format!("authorization: Bearer {}", session.token)
                };
            }
            "POST /users/{id}/password" => {
                target = with_password(api, &mark).await?;
                credential = format!("authorization: Bearer {}", Session::begin(api, ADMIN_EMAIL).await?.token);
            }
            "POST /credentials" | "POST /users" | "POST /models/pull" => {}
            DELETE_MODEL => {
                target = i64::try_from(random_below(1 << 40))?;
                api.fake.add_model(&model_name(target));
            }
            "DELETE /models/pull/{id}" => {
                let model = json!({"model": format!("target-of-{mark}")});
                target = api.admin().post("/models/pull").json(&model).expect(202).await?.id("job")?;
            }
            row if row.contains("/users/{id}") => target = api.user(json!({})).await?,
            _ => {
                target = api.key(1, json!({"label": mark})).await?.0;
                let overridden = format!("UPDATE credentials SET overridden_at = created_at WHERE id = {target}");
                api.database()?.execute(&overridden).await?;
                if row.0 == END_GRACE {
                    api.admin().post(format!("/credentials/{target}/rotate")).expect(200).await?;
                }
            }
        }
        Ok(Self { row, mark, target, credential })
    }

    fn request(&self, address: &str) -> Result<String> {
        let (method, path) = self.row.0.split_once(' ').context("a method and a path")?;
        let path = path.replace("{id}", &self.target.to_string()).replace("{name}", &model_name(self.target));
        let (mark, credential, body) = (&self.mark, &self.credential, (self.row.1)(&self.mark));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{credential}\r\nx-request-id: {mark}\r\nuser-agent: {mark}\r\n"
        );
        if body.is_null() {
            return Ok(format!("{head}content-length: 0\r\n\r\n"));
        }
        let (body, length) = (body.to_string(), body.to_string().len());
        Ok(format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    /// Sends the request and waits for the answer. Returns the latency.
    async fn stay(&self, api: &Api) -> Result<Duration> {
        let start = Instant::now();
        let mut stream = self.connect(api).await?;
        stream.0.write_all(stream.1.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.0.read_exact(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 20"), "{}: {}", self.row.0, String::from_utf8_lossy(&answer));
        Ok(start.elapsed())
    }

    /// Sends the request, or a part of it, and disconnects within `limit`.
    async fn leave(&self, api: &Api, limit: Duration) -> Result<()> {
        let (mut stream, request) = self.connect(api).await?;
        // Every fourth client disconnects in the middle of its request.
        let count = if random_below(4) == 0 { random_below(request.len() as u64) } else { request.len() as u64 };
        let count = usize::try_from(count)?;
        stream.write_all(&request.as_bytes()[..count]).await?;
        // The client disconnects at a random moment after this write.
        let limit = u64::try_from(limit.as_micros())?.max(1);
        tokio::time::sleep(Duration::from_micros(random_below(limit))).await;
        Ok(())
    }

    async fn connect(&self, api: &Api) -> Result<(TcpStream, String)> {
        let address = api.contract.url.strip_prefix("http://").context("an address")?;
        Ok((TcpStream::connect(address).await?, self.request(address)?))
    }

    /// Whether the request was done, and its audit events.
    async fn outcome(&self, api: &Api) -> Result<(bool, Vec<String>)> {
        let is_done = if self.row.0 == DELETE_MODEL {
            let name = format!("registry.ollama.ai/library/{}", model_name(self.target));
            api.fake.requests("/api/delete").iter().any(|request| request.json()["model"] == name)
        } else {
            let done = self.row.2.replace("{id}", &self.target.to_string()).replace("{mark}", &self.mark);
            api.database()?.texts(&format!("SELECT CAST(({done}) AS TEXT)")).await?[0].parse::<i64>()? > 0
        };
        let events = format!("SELECT event_type FROM audit_logs WHERE request_id = '{}'", self.mark);
        Ok((is_done, api.database()?.texts(&events).await?))
    }

    /// Whether the request was done.
    ///
    /// Errors: a change without its one event, or an event without its change.
    async fn is_done(&self, api: &Api) -> Result<bool> {
        let (done, events) = self.outcome(api).await?;
        let event = EVENTS.iter().find(|(operation, ..)| *operation == self.row.0).context("an event")?.1;
        let expected: &[&str] = if done { &[event] } else { &[] };
        ensure!(events == expected, "{} {}: done: {done}, recorded: {events:?}", self.row.0, self.mark);
        Ok(done)
    }
}

/// Creates a user with the first admin's password.
async fn with_password(api: &Api, mark: &str) -> Result<i64> {
    let user = api.user(json!({})).await?;
    let named = format!(
        "UPDATE users SET email = '{}' WHERE id = {user}; \
         INSERT INTO passwords (user_id, hash, set_at) SELECT {user}, hash, set_at FROM passwords WHERE user_id = 1",
        email(mark)
    );
    api.database()?.execute(&named).await?;
    Ok(user)
}

/// The latency of each operation, from a client that stays. Asserts that the operation is done and
/// recorded.
async fn durations(api: &Api) -> Result<Vec<Duration>> {
    let mut durations = Vec::new();
    for (place, row) in ROWS.into_iter().enumerate() {
        let leaver = LeavingClient::new(api, row, format!("stayer-{place}")).await?;
        ensure!(!leaver.is_done(api).await?, "{} was done before it was asked for", row.0);
        durations.push(leaver.stay(api).await?);
        ensure!(leaver.is_done(api).await?, "{} was not done", row.0);
    }
    Ok(durations)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_separates_no_change_from_its_event(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        prepare(&api).await?;
        assert_covers(
            &EVENTS.map(|(operation, ..)| operation.to_owned()).into(),
            &ROWS.map(|row| row.0),
            "api/mutations/client_disconnects.rs",
        )?;
        let durations = durations(&api).await?;
        let mut leavers = Vec::new();
        for round in 0..disconnects() / GROUP {
            let mut group = Vec::new();
            for place in 0..GROUP {
                let kind = usize::try_from(random_below(ROWS.len() as u64))?;
                let leaver = LeavingClient::new(&api, ROWS[kind], format!("leaver-{round}-{place}")).await?;
                // Long enough that many requests are done, and short enough that many are not.
                group.push((leaver, durations[kind] * u32::try_from(GROUP)? / 2));
            }
            try_join_all(group.iter().map(|(leaver, limit)| leaver.leave(&api, *limit))).await?;
            leavers.extend(group.into_iter().map(|(leaver, _)| leaver));
        }
        // After this sign-in the server has little left to do.
        api.anonymous()
            .post("/auth/login")
            .json(&json!({"username": ADMIN_EMAIL, "password": PASSWORD}))
            .expect(200)
            .await?;
        let done = eventually("changes and records to agree", Duration::from_secs(20), async || {
            let mut done = BTreeMap::<_, usize>::new();
            for leaver in &leavers {
                *done.entry(leaver.row.0).or_default() += usize::from(leaver.is_done(&api).await?);
            }
            Ok::<_, anyhow::Error>(done)
        })
        .await?;
        let count: usize = done.values().sum();
        let (least, all) = (leavers.len() / 10, leavers.len());
        ensure!(count > least && count < all - least, "{count} of {all} were done, which shows too little: {done:?}");
        print_figures(count, all, &done);
        Ok(())
    })
    .await;
}

#[expect(clippy::print_stdout, reason = "the figures of a run; shown with --nocapture")]
fn print_figures(count: usize, all: usize, done: &BTreeMap<&str, usize>) {
    println!("{count} of {all} clients that left were served: {done:?}");
}
