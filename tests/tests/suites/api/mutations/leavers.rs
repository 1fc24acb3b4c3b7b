//! Clients that leave at any moment: whatever they asked for, it is done with its record, or not done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand;
use futures_util::future::try_join_all;
use paddock_tests::database::Engine;
use paddock_tests::eventually::eventually;
use paddock_tests::story::length;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::authorization::covers;
use super::super::{ADMIN_EMAIL, Api, PASSWORD, on_both_engines};
use super::{EVENTS, Session, prepare};

on_both_engines! {
    clients_that_leave_split_no_change_from_its_record,
}

/// How many go at once.
const TOGETHER: usize = 5;

fn aborts() -> usize {
    length(500, 60)
}

/// A mutating operation; what it is sent; and a query that counts, for the row `{id}` or whatever is marked `{mark}`, whether
/// it was done.
type Row = (&'static str, fn(&str) -> Value, &'static str);

const SET: &str = "SELECT count(*) FROM passwords WHERE user_id = {id} AND hash <> (SELECT hash FROM kept_password)";
const REVOKED: &str = "SELECT count(*) FROM credentials WHERE id = {id} AND revoked_at IS NOT NULL";

#[rustfmt::skip]
const ROWS: [Row; 13] = [
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
    ("POST /credentials/{id}/clear-override", nothing,
     "SELECT count(*) FROM credentials WHERE id = {id} AND overridden_at IS NULL"),
    ("POST /credentials/{id}/rotate", nothing, "SELECT count(*) - 1 FROM credential_secrets WHERE credential_id = {id}"),
    ("POST /credentials/{id}/revoke", nothing, REVOKED),
];

fn nothing(_: &str) -> Value {
    Value::Null
}

fn email(mark: &str) -> String {
    format!("{mark}@example.com")
}

/// A number below `limit`, any of them.
fn any(limit: usize) -> Result<usize> {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes)?;
    Ok(usize::try_from(u32::from_le_bytes(bytes))? % limit)
}

/// A client and what it is about to ask for.
struct Leaver {
    row: Row,
    /// Its request's id, its User-Agent, and the name of what it makes.
    mark: String,
    target: i64,
    credential: String,
}

impl Leaver {
    /// Gives it something of its own to change.
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
            "POST /credentials" | "POST /users" => {}
            row if row.contains("/users/{id}") => target = api.user(json!({})).await?,
            _ => {
                target = api.key(1, json!({"label": mark})).await?.0;
                let overridden = format!("UPDATE credentials SET overridden_at = created_at WHERE id = {target}");
                api.behind()?.execute(&overridden).await?;
            }
        }
        Ok(Self { row, mark, target, credential })
    }

    fn request(&self, address: &str) -> Result<String> {
        let (method, path) = self.row.0.split_once(' ').context("a method and a path")?;
        let path = path.replace("{id}", &self.target.to_string());
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

    /// Sends its request and waits for the answer; how long that took.
    async fn stay(&self, api: &Api) -> Result<Duration> {
        let start = Instant::now();
        let mut stream = self.connect(api).await?;
        stream.0.write_all(stream.1.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.0.read_exact(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 20"), "{}: {}", self.row.0, String::from_utf8_lossy(&answer));
        Ok(start.elapsed())
    }

    /// Sends its request, or a part of it, and leaves before so long is over.
    async fn leave(&self, api: &Api, patience: Duration) -> Result<()> {
        let (mut stream, request) = self.connect(api).await?;
        // Every fourth leaves in the middle of its request.
        let count = if any(4)? == 0 { any(request.len())? } else { request.len() };
        stream.write_all(&request.as_bytes()[..count]).await?;
        // The moment is what the test is about.
        let patience = usize::try_from(patience.as_micros())?.max(1);
        tokio::time::sleep(Duration::from_micros(u64::try_from(any(patience)?)?)).await;
        Ok(())
    }

    async fn connect(&self, api: &Api) -> Result<(TcpStream, String)> {
        let address = api.contract.url.strip_prefix("http://").context("an address")?;
        Ok((TcpStream::connect(address).await?, self.request(address)?))
    }

    /// Whether what it asked for was done, and the events that say so.
    async fn outcome(&self, api: &Api) -> Result<(bool, Vec<String>)> {
        let done = self.row.2.replace("{id}", &self.target.to_string()).replace("{mark}", &self.mark);
        let count: i64 = api.behind()?.texts(&format!("SELECT CAST(({done}) AS TEXT)")).await?[0].parse()?;
        let events = format!("SELECT event_type FROM audit_logs WHERE request_id = '{}'", self.mark);
        Ok((count > 0, api.behind()?.texts(&events).await?))
    }

    /// Errors: the change without its one record, or a record without its change.
    async fn agrees(&self, api: &Api) -> Result<bool> {
        let (done, events) = self.outcome(api).await?;
        let event = EVENTS.iter().find(|(operation, ..)| *operation == self.row.0).context("an event")?.1;
        let expected: &[&str] = if done { &[event] } else { &[] };
        ensure!(events == expected, "{} {}: done: {done}, recorded: {events:?}", self.row.0, self.mark);
        Ok(done)
    }
}

/// A user whose password is the first admin's.
async fn with_password(api: &Api, mark: &str) -> Result<i64> {
    let user = api.user(json!({})).await?;
    let named = format!(
        "UPDATE users SET email = '{}' WHERE id = {user}; \
         INSERT INTO passwords (user_id, hash, set_at) SELECT {user}, hash, set_at FROM passwords WHERE user_id = 1",
        email(mark)
    );
    api.behind()?.execute(&named).await?;
    Ok(user)
}

/// One of each stays, so that it is known what is done and recorded, and how long that takes.
async fn durations(api: &Api) -> Result<Vec<Duration>> {
    let mut durations = Vec::new();
    for (place, row) in ROWS.into_iter().enumerate() {
        let leaver = Leaver::new(api, row, format!("stayer-{place}")).await?;
        ensure!(!leaver.agrees(api).await?, "{} was done before it was asked for", row.0);
        durations.push(leaver.stay(api).await?);
        ensure!(leaver.agrees(api).await?, "{} was not done", row.0);
    }
    Ok(durations)
}

async fn clients_that_leave_split_no_change_from_its_record(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    prepare(&api).await?;
    covers(
        &EVENTS.map(|(operation, ..)| operation.to_owned()).into(),
        &ROWS.map(|row| row.0),
        "api/mutations/leavers.rs",
    )?;
    let durations = durations(&api).await?;
    let mut leavers = Vec::new();
    for round in 0..aborts() / TOGETHER {
        let mut group = Vec::new();
        for place in 0..TOGETHER {
            let kind = any(ROWS.len())?;
            let leaver = Leaver::new(&api, ROWS[kind], format!("leaver-{round}-{place}")).await?;
            // Long enough that many are carried out, all at a time, and short enough that many are not.
            group.push((leaver, durations[kind] * u32::try_from(TOGETHER)? / 2));
        }
        try_join_all(group.iter().map(|(leaver, patience)| leaver.leave(&api, *patience))).await?;
        leavers.extend(group.into_iter().map(|(leaver, _)| leaver));
    }
    // Once the server has nothing more to do, that is how it stays.
    api.anonymous("POST /auth/login", 0)
        .json(&json!({"username": ADMIN_EMAIL, "password": PASSWORD}))
        .expect(200)
        .await?;
    let done = eventually("changes and records to agree", Duration::from_secs(20), async || {
        let mut done = BTreeMap::<_, usize>::new();
        for leaver in &leavers {
            *done.entry(leaver.row.0).or_default() += usize::from(leaver.agrees(&api).await?);
        }
        Ok::<_, anyhow::Error>(done)
    })
    .await?;
    let count: usize = done.values().sum();
    let (least, all) = (leavers.len() / 10, leavers.len());
    ensure!(
        count > least && count < all - least,
        "{count} of {all} were carried out, so that little was shown: {done:?}"
    );
    tell(count, all, &done);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures of a run; shown with --nocapture")]
fn tell(count: usize, all: usize, done: &BTreeMap<&str, usize>) {
    println!("{count} of {all} clients that left were served: {done:?}");
}
