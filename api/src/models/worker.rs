//! Runs queued pulls: claims them in the database, pulls them through Ollama, and records the end.

use std::time::Duration;

use futures_util::StreamExt;
use metrics::counter;
use paddock_accounts::{
    Error,
    pulls::{CLAIM_TTL, ClaimedPull},
};
use paddock_ollama::{PullError, PullEvent};
use paddock_store::error_chain;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Models, PullSource, backend::BackendClient, failure, running::RunningGuard, snapshot::PullSnapshot};

/// The time between two searches for pulls that another process queued, or lost by a crash.
const CLAIM_INTERVAL: Duration = Duration::from_secs(2);
/// The time between two writes of the progress, which also renew the claim.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// How long one write to the database may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pull stops at the first failed renewal after this time without a renewal. It is shorter than
/// [`CLAIM_TTL`], so that this process stops before another process can claim the pull.
const MAX_UNRENEWED: Duration = CLAIM_TTL.saturating_sub(Duration::from_secs(5));
/// After this number of failed attempts in a row without new data, the pull fails.
const MAX_ATTEMPTS: u32 = 6;
/// The pause after the first failed attempt. It doubles after each failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

impl Models {
    /// Runs pulls until `stop`, then releases its claims, so that another process can continue.
    pub(crate) async fn run_pulls(self, stop: CancellationToken) {
        if self.0.max_pulls == 0 {
            return;
        }
        stop.run_until_cancelled(self.release_claims_of_dead()).await;
        let mut tasks = JoinSet::new();
        loop {
            while let Some(Some(claimed)) = stop.run_until_cancelled(self.claim()).await {
                tasks.spawn(PullTask::new(self.clone(), claimed).run(stop.clone()));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.queued.notified() => {}
                Some(_) = tasks.join_next() => {}
                () = sleep(CLAIM_INTERVAL) => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn release_claims_of_dead(&self) {
        while let Err(error) = write(self.0.accounts.pulls().release_claims_of_dead()).await {
            tracing::debug!(error, "cannot release the claims of an earlier process; retrying");
            sleep(CLAIM_INTERVAL).await;
        }
    }

    /// Claims the next pull. Returns `None` if no pull can be claimed, or if the database is
    /// unavailable.
    async fn claim(&self) -> Option<ClaimedPull> {
        match write(self.0.accounts.pulls().claim(self.0.max_pulls)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::debug!(error, "cannot claim a pull");
                None
            }
        }
    }
}

/// Awaits a write to the database for a bounded time. Fails with the error as text.
async fn write<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(WRITE_TIMEOUT, call).await {
        Ok(result) => result.map_err(|error| error_chain(&error)),
        Err(_) => Err("timeout".to_owned()),
    }
}

/// One pull, which this process has claimed.
struct PullTask {
    models: Models,
    claimed: ClaimedPull,
    running: RunningGuard,
}

impl PullTask {
    fn new(models: Models, claimed: ClaimedPull) -> Self {
        let running = models.0.running.add(PullSnapshot::stored(claimed.job.clone()));
        Self { models, claimed, running }
    }

    async fn run(self, stop: CancellationToken) {
        let (job, model) = (self.claimed.job.id.0, &self.claimed.job.model);
        tracing::info!(job, model, "pulling a model");
        let reason = tokio::select! {
            () = self.running.cancelled() => "cancelled".to_owned(),
            () = stop.cancelled() => return self.release().await,
            reason = self.keep_claim() => reason,
            ended = self.pull() => {
                // If the claim has expired, the record changes nothing.
                stop.run_until_cancelled(self.record(ended)).await;
                return;
            }
        };
        tracing::info!(job, model, reason, "pull stopped");
    }

    /// Renews the claim and stores the progress. Returns the reason when this process must stop the
    /// pull.
    async fn keep_claim(&self) -> String {
        let mut renewed = Instant::now();
        let mut ticks = interval(RENEW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.running.measure();
            let (started, progress) = (Instant::now(), self.running.snapshot().progress());
            match write(self.pulls().renew(&self.claimed, &progress)).await {
                Ok(true) => renewed = started,
                Ok(false) => return "cancelled, or claimed by another process".to_owned(),
                Err(error) if renewed.elapsed() < MAX_UNRENEWED => {
                    tracing::debug!(error, job = self.claimed.job.id.0, "cannot store the progress of a pull");
                }
                Err(error) => return format!("the claim could not be renewed: {error}"),
            }
        }
    }

    /// Pulls the model into every backend. Fails with the reason.
    async fn pull(&self) -> Result<(), String> {
        // Checked again, because the configuration may have changed since the request.
        let source = self.models.check_pull(&self.claimed.job.written);
        let source = source.map_err(|error| format!("the model {error}"))?;
        let backends = self.models.0.backends.current();
        if backends.is_empty() {
            return Err("no Ollama is known".to_owned());
        }
        for backend in backends.iter() {
            self.pull_into(backend, &source).await.map_err(|error| failure::reason(&error, source.model.registry()))?;
        }
        self.running.update(&PullEvent::Success);
        Ok(())
    }

    /// Pulls the model into one backend, with several attempts. Ollama keeps the received data.
    async fn pull_into(&self, backend: &BackendClient, source: &PullSource) -> Result<(), PullError> {
        let (mut failures, mut backoff) = (0, FIRST_BACKOFF);
        loop {
            let before = self.running.snapshot().job.progress.completed_bytes;
            match self.attempt(backend, source).await {
                Ok(()) => return Ok(()),
                Err(error) if failure::is_transient(&error) => {
                    if self.running.snapshot().job.progress.completed_bytes > before {
                        (failures, backoff) = (0, FIRST_BACKOFF);
                    }
                    failures += 1;
                    if failures == MAX_ATTEMPTS {
                        return Err(error);
                    }
                    let (job, backend) = (self.claimed.job.id.0, &backend.url);
                    tracing::warn!(error = error_chain(&error), job, backend, "pull failed; retrying");
                    sleep(backoff).await;
                    backoff *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, backend: &BackendClient, source: &PullSource) -> Result<(), PullError> {
        let mut events = backend.client.pull(&source.model, source.is_insecure);
        while let Some(event) = events.next().await {
            match event? {
                PullEvent::Success => return Ok(()),
                event => self.running.update(&event),
            }
        }
        Err(PullError::Truncated)
    }

    /// Records the end of the pull. Retries until the database accepts the record.
    async fn record(&self, ended: Result<(), String>) {
        let (job, model) = (self.claimed.job.id.0, &self.claimed.job.model);
        let result = match &ended {
            Ok(()) => "pulled",
            Err(reason) => {
                tracing::warn!(job, model, reason, "pull failed");
                "failed"
            }
        };
        counter!("paddock_pulls_total", "result" => result).increment(1);
        let progress = self.running.snapshot().progress();
        loop {
            let recorded = match &ended {
                Ok(()) => write(self.pulls().succeed(&self.claimed, &progress)).await,
                Err(reason) => write(self.pulls().fail(&self.claimed, reason, &progress)).await,
            };
            match recorded {
                Ok(()) => break,
                Err(error) => tracing::warn!(error, job, "cannot store the end of a pull; retrying"),
            }
            sleep(RENEW_INTERVAL).await;
        }
        if ended.is_ok() {
            tracing::info!(job, model, "model pulled");
        }
    }

    async fn release(&self) {
        if let Err(error) = write(self.pulls().release(&self.claimed)).await {
            tracing::debug!(
                error,
                job = self.claimed.job.id.0,
                "cannot release the claim on a pull; the claim expires"
            );
        }
    }

    fn pulls(&self) -> paddock_accounts::pulls::Pulls<'_> {
        self.models.0.accounts.pulls()
    }
}
