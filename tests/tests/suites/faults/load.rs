//! Writers that remember what they were promised, and send again what nobody answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::Caller;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

/// How long nothing may move before something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two tries of what was not answered.
const PAUSE: Duration = Duration::from_millis(50);

/// What a refusal says that is certain.
const UNCHANGED: &str = "nothing was changed";

/// What a writer knows of its request.
enum Answer {
    /// It was acknowledged; `anew`: and had not been done before.
    Done { anew: bool, body: Value },
    /// It has not been done: so the service says, or nobody heard it.
    Unchanged,
    /// Nobody knows.
    Unknown,
}

/// What the service has acknowledged of one user.
#[derive(Clone, Debug)]
pub(super) struct Promised {
    pub(super) id: i64,
    pub(super) external_id: String,
    /// `None` while a change of them is under way.
    pub(super) roles: Option<&'static str>,
    /// The label and the id of its key; a request for one is sent once.
    pub(super) key: Option<(String, i64)>,
}

/// What all writers have heard.
#[derive(Default)]
struct Ledger {
    promised: Mutex<Vec<Promised>>,
    acknowledged: AtomicUsize,
    unavailable: AtomicUsize,
    /// How often each answer came, and each way of getting none.
    heard: Mutex<BTreeMap<String, usize>>,
    slowest: Mutex<Duration>,
    failure: Mutex<Option<String>>,
}

/// Writers at work.
pub(super) struct Load {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    writers: JoinSet<()>,
    began: Instant,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Summary {
    /// Requests that were acknowledged.
    pub(super) acknowledged: usize,
    /// Answers of 503.
    pub(super) unavailable: usize,
    pub(super) heard: BTreeMap<String, usize>,
    /// The longest that an answer took, whatever it was.
    pub(super) slowest: Duration,
    pub(super) took: Duration,
}

impl Load {
    /// So many writers, each waiting for its answers; together `rate` requests a second, of which those that were due while
    /// nothing answered are sent as soon as something does.
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

    /// Waits until so many more requests have been acknowledged.
    pub(super) async fn acknowledged(&self, more: usize, limit: Duration) -> Result<()> {
        self.grown("acknowledgements", &self.ledger.acknowledged, more, limit).await
    }

    /// How many have been acknowledged so far.
    pub(super) fn count(&self) -> usize {
        self.ledger.acknowledged.load(Relaxed)
    }

    /// Waits until so many more requests have been answered with 503.
    pub(super) async fn unavailable(&self, more: usize) -> Result<()> {
        self.grown("refusals", &self.ledger.unavailable, more, PATIENCE).await
    }

    async fn grown(&self, what: &str, count: &AtomicUsize, more: usize, limit: Duration) -> Result<()> {
        let aim = count.load(Relaxed) + more;
        let waiting_for = format!("{more} {what}");
        let waited = eventually(&waiting_for, limit, async || {
            if let Some(failure) = self.failure() {
                return Ok(Err(anyhow::anyhow!(failure)));
            }
            let now = count.load(Relaxed);
            ensure!(now >= aim, "{now} of {aim}; heard so far: {:?}", self.ledger.heard.lock());
            Ok(Ok(()))
        });
        waited.await?
    }

    fn failure(&self) -> Option<String> {
        self.ledger.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has been promised so far.
    pub(super) fn promised(&self) -> Vec<Promised> {
        self.ledger.promised.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the writers after the answers they wait for.
    pub(super) async fn stop(mut self) -> Result<(Vec<Promised>, Summary)> {
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
            heard: self.ledger.heard.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            slowest: *self.ledger.slowest.lock().unwrap_or_else(PoisonError::into_inner),
            took: self.began.elapsed(),
        };
        Ok((self.promised(), summary))
    }
}

/// Somebody who makes users, gives each a key, and changes its roles.
struct Writer {
    admin: Caller,
    name: String,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
}

impl Writer {
    async fn run(&self, every: Option<Duration>) -> Result<()> {
        let mut clock = every.map(interval);
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
            let place = {
                let mut promised = self.ledger.promised.lock().unwrap_or_else(PoisonError::into_inner);
                promised.push(Promised { id, external_id: name.clone(), roles: Some("user"), key: None });
                promised.len() - 1
            };
            next().await;
            if let Some(issued) =
                self.once(self.admin.post("/credentials", &json!({"user_id": id, "label": name}))).await?
            {
                let key = issued["credential_id"].as_i64().with_context(|| issued.to_string())?;
                self.note(place, |promised| promised.key = Some((name, key)));
            }
            next().await;
            self.note(place, |promised| promised.roles = None);
            let path = format!("/users/{id}");
            let changed = self.until_answered(|| self.admin.patch(&path, &json!({"roles": []}))).await?;
            if changed.is_none() {
                return Ok(());
            }
            self.note(place, |promised| promised.roles = Some(""));
        }
        Ok(())
    }

    fn note(&self, place: usize, change: impl FnOnce(&mut Promised)) {
        let mut promised = self.ledger.promised.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(promised) = promised.get_mut(place) {
            change(promised);
        }
    }

    /// Sends the same request until it is acknowledged; `None`: told to stop before that.
    ///
    /// Errors: it had been done when the service said that nothing was changed.
    async fn until_answered(&self, request: impl Fn() -> RequestBuilder) -> Result<Option<Value>> {
        let mut in_doubt = false;
        while !self.stop.is_cancelled() {
            match self.send(request()).await? {
                Answer::Done { anew, body } => {
                    ensure!(anew || in_doubt, "`{UNCHANGED}` was said of what had been done: {body}");
                    return Ok(Some(body));
                }
                Answer::Unchanged => {}
                Answer::Unknown => in_doubt = true,
            }
            sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// Sends a request once; `None`: it was not acknowledged.
    async fn once(&self, request: RequestBuilder) -> Result<Option<Value>> {
        Ok(match self.send(request).await? {
            Answer::Done { body, .. } => Some(body),
            Answer::Unchanged | Answer::Unknown => None,
        })
    }

    /// Errors: an answer that neither a crash nor a database that is away accounts for.
    async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let began = Instant::now();
        let answer = match request.timeout(PATIENCE).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => bail!("no answer for {PATIENCE:?}"),
            Err(error) => {
                self.heard("no connection");
                return Ok(if error.is_connect() { Answer::Unchanged } else { Answer::Unknown });
            }
        };
        let status = answer.status();
        // The head came and the process died.
        let Ok(text) = answer.text().await else {
            self.heard("half an answer");
            return Ok(Answer::Unknown);
        };
        self.took(began.elapsed());
        if status.is_success() {
            self.heard(status.as_str());
            self.ledger.acknowledged.fetch_add(1, Relaxed);
            // A user that was there already is a 200. Of a change the answer does not tell.
            let body: Value = serde_json::from_str(&text)?;
            return Ok(Answer::Done { anew: status == 201 || body["roles"] == json!([]), body });
        }
        ensure!(status == 503, "{status}: {text}");
        let problem: Value = serde_json::from_str(&text)?;
        self.heard(&format!("503 {}", problem["detail"]));
        self.ledger.unavailable.fetch_add(1, Relaxed);
        let unchanged = problem["detail"].as_str().is_some_and(|detail| detail.contains(UNCHANGED));
        Ok(if unchanged { Answer::Unchanged } else { Answer::Unknown })
    }

    fn heard(&self, what: &str) {
        let mut heard = self.ledger.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard.entry(what.to_owned()).or_default() += 1;
    }

    fn took(&self, time: Duration) {
        let mut slowest = self.ledger.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        *slowest = (*slowest).max(time);
    }
}
