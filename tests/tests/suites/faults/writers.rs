//! Writers that record every acknowledged request, and repeat the unanswered ones.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use paddock_tests::{eventually::eventually, paddock::Caller};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// The time without progress after which a run fails.
const PROGRESS_TIMEOUT: Duration = Duration::from_mins(1);
/// The pause before a request is repeated.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The part of a refusal's detail that promises that nothing was changed.
const UNCHANGED: &str = "nothing was changed";

/// The outcome of a request, as its writer knows it.
enum Outcome {
    /// Acknowledged. `is_new`: the request had not been done before.
    Done { is_new: bool, body: Value },
    /// Not done: the service said so, or was not reached.
    Unchanged,
    /// Unknown: the answer was lost.
    Unknown,
}

/// The acknowledged state of one user.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) id: i64,
    pub(super) external_id: String,
    /// `None` while a change is in progress.
    pub(super) roles: Option<&'static str>,
    /// The label and the id of its key, which is requested once.
    pub(super) key: Option<(String, i64)>,
}

/// What all writers have recorded.
#[derive(Default)]
struct Ledger {
    users: Mutex<Vec<Acknowledged>>,
    acknowledged: AtomicUsize,
    unavailable: AtomicUsize,
    /// The number of each outcome.
    outcomes: Mutex<BTreeMap<String, usize>>,
    slowest: Mutex<Duration>,
    failure: Mutex<Option<String>>,
}

/// Running writers.
pub(super) struct WriterLoad {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    writers: JoinSet<()>,
    began: Instant,
}

/// The figures of a run.
#[derive(Debug)]
pub(super) struct Summary {
    /// The number of acknowledged requests.
    pub(super) acknowledged: usize,
    /// The number of 503 answers.
    pub(super) unavailable: usize,
    /// The number of each outcome.
    pub(super) outcomes: BTreeMap<String, usize>,
    /// The latency of the slowest answer.
    pub(super) slowest: Duration,
    pub(super) took: Duration,
}

impl WriterLoad {
    /// Starts `count` writers, which together send `rate` requests a second. Each waits for its
    /// answers, and catches up after a pause.
    pub(super) fn start(admin: &Caller, count: u32, rate: Option<u32>) -> Self {
        let (ledger, stop) = (Arc::<Ledger>::default(), CancellationToken::new());
        let mut writers = JoinSet::new();
        for number in 0..count {
            let writer =
                Writer { admin: admin.clone(), name: format!("w{number}"), ledger: ledger.clone(), stop: stop.clone() };
            let pace = rate.map(|rate| Duration::from_secs(1) * count / rate);
            writers.spawn(async move {
                if let Err(error) = writer.run(pace).await {
                    let mut failure = writer.ledger.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(format!("{error:#}"));
                }
            });
        }
        Self { ledger, stop, writers, began: Instant::now() }
    }

    /// Waits until this many more requests are acknowledged.
    pub(super) async fn acknowledged(&self, more: usize, limit: Duration) -> Result<()> {
        self.wait_for("acknowledgements", &self.ledger.acknowledged, more, limit).await
    }

    /// The number of acknowledged requests so far.
    pub(super) fn count(&self) -> usize {
        self.ledger.acknowledged.load(Relaxed)
    }

    /// Waits until this many more requests are answered with 503.
    pub(super) async fn unavailable(&self, more: usize) -> Result<()> {
        self.wait_for("refusals", &self.ledger.unavailable, more, PROGRESS_TIMEOUT).await
    }

    async fn wait_for(&self, what: &str, count: &AtomicUsize, more: usize, limit: Duration) -> Result<()> {
        let target = count.load(Relaxed) + more;
        let waiting_for = format!("{more} {what}");
        let waited = eventually(&waiting_for, limit, async || {
            if let Some(failure) = self.failure() {
                return Ok(Err(anyhow::anyhow!(failure)));
            }
            let now = count.load(Relaxed);
            ensure!(now >= target, "{now} of {target}; outcomes so far: {:?}", self.ledger.outcomes.lock());
            Ok(Ok(()))
        });
        waited.await?
    }

    fn failure(&self) -> Option<String> {
        self.ledger.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The acknowledged users so far.
    pub(super) fn acknowledged_users(&self) -> Vec<Acknowledged> {
        self.ledger.users.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the writers after their current answers.
    pub(super) async fn stop(mut self) -> Result<(Vec<Acknowledged>, Summary)> {
        self.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            ended?;
        }
        if let Some(failure) = self.failure() {
            bail!("a writer: {failure}");
        }
        let summary = Summary {
            acknowledged: self.ledger.acknowledged.load(Relaxed),
            unavailable: self.ledger.unavailable.load(Relaxed),
            outcomes: self.ledger.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            slowest: *self.ledger.slowest.lock().unwrap_or_else(PoisonError::into_inner),
            took: self.began.elapsed(),
        };
        Ok((self.acknowledged_users(), summary))
    }
}

/// Creates users, issues a key to each, and changes its roles.
struct Writer {
    admin: Caller,
    name: String,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
}

impl Writer {
    async fn run(&self, pace: Option<Duration>) -> Result<()> {
        let mut clock = pace.map(interval);
        let mut next = async || {
            if let Some(clock) = &mut clock {
                clock.tick().await;
            }
        };
        for number in 0.. {
            let name = format!("{}-{number}", self.name);
            let user = json!({"email": format!("{name}@example.com"), "external_id": name, "roles": ["user"]});
            next().await;
            let Some(made) = self.until_answered(|| self.admin.post("/users", &user)).await? else { return Ok(()) };
            let id = made["id"].as_i64().with_context(|| made.to_string())?;
            let index = {
                let mut users = self.ledger.users.lock().unwrap_or_else(PoisonError::into_inner);
                users.push(Acknowledged { id, external_id: name.clone(), roles: Some("user"), key: None });
                users.len() - 1
            };
            next().await;
            if let Some(issued) =
                self.once(self.admin.post("/credentials", &json!({"user_id": id, "label": name}))).await?
            {
                let key = issued["credential_id"].as_i64().with_context(|| issued.to_string())?;
                self.update(index, |user| user.key = Some((name, key)));
            }
            next().await;
            self.update(index, |user| user.roles = None);
            let path = format!("/users/{id}");
            let changed = self.until_answered(|| self.admin.patch(&path, &json!({"roles": []}))).await?;
            if changed.is_none() {
                return Ok(());
            }
            self.update(index, |user| user.roles = Some(""));
        }
        Ok(())
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Acknowledged)) {
        let mut users = self.ledger.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get_mut(index) {
            change(user);
        }
    }

    /// Repeats a request until it is acknowledged; `None` when the writers are stopped first.
    ///
    /// Errors: the request had been done although the service said that nothing was changed.
    async fn until_answered(&self, request: impl Fn() -> RequestBuilder) -> Result<Option<Value>> {
        let mut in_doubt = false;
        while !self.stop.is_cancelled() {
            match self.send(request()).await? {
                Outcome::Done { is_new, body } => {
                    ensure!(is_new || in_doubt, "`{UNCHANGED}` was answered to a request that had been done: {body}");
                    return Ok(Some(body));
                }
                Outcome::Unchanged => {}
                Outcome::Unknown => in_doubt = true,
            }
            sleep(RETRY_INTERVAL).await;
        }
        Ok(None)
    }

    /// Sends a request once; `None` when it is not acknowledged.
    async fn once(&self, request: RequestBuilder) -> Result<Option<Value>> {
        Ok(match self.send(request).await? {
            Outcome::Done { body, .. } => Some(body),
            Outcome::Unchanged | Outcome::Unknown => None,
        })
    }

    /// Sends a request.
    ///
    /// Errors: an answer that neither a crash nor an unavailable database explains.
    async fn send(&self, request: RequestBuilder) -> Result<Outcome> {
        let began = Instant::now();
        let answer = match request.timeout(PROGRESS_TIMEOUT).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => bail!("no answer for {PROGRESS_TIMEOUT:?}"),
            Err(error) => {
                self.count_outcome("no connection");
                return Ok(if error.is_connect() { Outcome::Unchanged } else { Outcome::Unknown });
            }
        };
        let status = answer.status();
        // The process died after the head.
        let Ok(text) = answer.text().await else {
            self.count_outcome("half an answer");
            return Ok(Outcome::Unknown);
        };
        self.note_latency(began.elapsed());
        if status.is_success() {
            self.count_outcome(status.as_str());
            self.ledger.acknowledged.fetch_add(1, Relaxed);
            // A 200 is an existing user. The answer to a change does not show whether it is new.
            let body: Value = serde_json::from_str(&text)?;
            return Ok(Outcome::Done { is_new: status == 201 || body["roles"] == json!([]), body });
        }
        ensure!(status == 503, "{status}: {text}");
        let problem: Value = serde_json::from_str(&text)?;
        self.count_outcome(&format!("503 {}", problem["detail"]));
        self.ledger.unavailable.fetch_add(1, Relaxed);
        let unchanged = problem["detail"].as_str().is_some_and(|detail| detail.contains(UNCHANGED));
        Ok(if unchanged { Outcome::Unchanged } else { Outcome::Unknown })
    }

    fn count_outcome(&self, what: &str) {
        let mut outcomes = self.ledger.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        *outcomes.entry(what.to_owned()).or_default() += 1;
    }

    fn note_latency(&self, time: Duration) {
        let mut slowest = self.ledger.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        *slowest = (*slowest).max(time);
    }
}
