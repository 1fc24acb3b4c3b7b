//! A job that goes on with a dead key: the other keys of its address keep working.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::FakeOllama,
    paddock::{Caller, Launch, Paddock, fetch_json},
    process::Signal,
    story::story,
};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{MODEL, OTHER_MODEL};

/// How many clients of the job send at once.
const CLIENTS: usize = 8;
/// How many refusals exhaust the limit of the dead key.
const REFUSALS: usize = 300;
const FAILURES_PER_MINUTE: &str = "60";

/// A job that repeats its key at once and without end, from the address of all other clients.
struct Job {
    clients: JoinSet<Result<()>>,
    stop: CancellationToken,
    refused: Arc<AtomicUsize>,
}

impl Job {
    /// Starts it, and waits until its key has been refused often enough.
    async fn start(key: &Caller) -> Result<Self> {
        let mut job = Self { clients: JoinSet::new(), stop: CancellationToken::new(), refused: Arc::default() };
        for _ in 0..CLIENTS {
            let (key, stop, refused) = (key.clone(), job.stop.clone(), Arc::clone(&job.refused));
            job.clients.spawn(async move {
                while !stop.is_cancelled() {
                    let status = key.get("/api/tags").send().await?.status();
                    ensure!([StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{status}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        let refused = Arc::clone(&job.refused);
        eventually("the refusals of the dead key", Duration::from_secs(30), async || {
            let count = refused.load(Ordering::Relaxed);
            ensure!(count >= REFUSALS, "{count} refusals");
            Ok(())
        })
        .await?;
        Ok(job)
    }

    /// Ends it.
    ///
    /// Errors: its key was not refused once.
    async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// A server with the default limit of failures, and a user.
struct Fixture {
    launch: Launch,
    paddock: Paddock,
    admin: Caller,
    user: i64,
    _fake: FakeOllama,
    _database: Database,
}

impl Fixture {
    async fn start(engine: Engine) -> Result<Self> {
        let database = Database::new(engine).await?;
        let fake = FakeOllama::start(&[MODEL, OTHER_MODEL]).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&fake.url());
        let launch = launch.env("AUTH_FAILURES_PER_MINUTE", FAILURES_PER_MINUTE);
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        Ok(Self { launch, paddock, admin, user, _fake: fake, _database: database })
    }

    async fn issue(&self) -> Result<(i64, Caller)> {
        self.admin.create_key(self.user, json!({})).await
    }

    async fn issue_dead(&self) -> Result<Caller> {
        let (id, key) = self.issue().await?;
        self.admin.post(&format!("/credentials/{id}/revoke"), &json!({})).send().await?.error_for_status()?;
        Ok(key)
    }

    /// Ends the process, and starts another one on the same database and address.
    async fn restart(&mut self) -> Result<()> {
        self.paddock.process().signal(Signal::Term)?;
        self.paddock.process().wait_for_exit(Duration::from_secs(40)).await?;
        self.paddock = self.launch.clone().start().await?;
        Ok(())
    }
}

async fn assert_works(key: &Caller) -> Result<()> {
    let answer = key.get("/api/tags").send().await?;
    let status = answer.status();
    ensure!(status == 200, "{status}: {}", answer.text().await?);
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_issued_beside_a_dead_one_works_at_once(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let job = Job::start(&fixture.issue_dead().await?).await?;
        for _ in 0..10 {
            assert_works(&fixture.issue().await?.1).await?;
        }
        job.end().await
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_works_while_its_old_secret_is_repeated(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let (id, old) = fixture.issue().await?;
        let rotate = fixture.admin.post(&format!("/credentials/{id}/rotate"), &json!({"grace_seconds": 0}));
        let rotated = fetch_json(rotate).await?;
        let job = Job::start(&old).await?;
        assert_works(&fixture.paddock.caller(rotated["plaintext"].as_str().context("a key")?)).await?;
        job.end().await
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_new_process_has_never_seen_works_beside_a_dead_one(#[case] engine: Engine) {
    story(async {
        let mut fixture = Fixture::start(engine).await?;
        let (_, living) = fixture.issue().await?;
        assert_works(&living).await?;
        let dead = fixture.issue_dead().await?;
        fixture.restart().await?;
        let job = Job::start(&dead).await?;
        assert_works(&living).await?;
        assert_works(&fixture.admin).await?;
        job.end().await
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_dead_key_is_refused_unchecked_in_the_end(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let dead = fixture.issue_dead().await?;
        Job::start(&dead).await?.end().await?;
        // The limit allows one failure each second, which the first request may have got.
        dead.get("/api/tags").send().await?;
        let answer = dead.get("/api/tags").send().await?;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        ensure!(answer.headers().contains_key("retry-after"), "{answer:?}");
        Ok(())
    })
    .await;
}
