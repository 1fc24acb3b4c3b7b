//! Background tasks of the server: probes, cache invalidation, usage upload and periodic cleanup.

use std::{sync::Arc, time::Duration};

use paddock_accounts::Accounts;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    app::App,
    gateway::{
        MODELS_REFRESH_INTERVAL,
        usage::{UsageBacklog, replay, writer},
    },
    http::deadline::with_db_timeout,
};

/// The time between two removals of expired sessions.
const SESSION_SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// The time between two writes of when keys were last used.
const LAST_USED_INTERVAL: Duration = Duration::from_mins(1);

/// Probes the database, Ollama and Redis once, concurrently.
pub(super) async fn probe_all(app: &App) {
    tokio::join!(app.readiness.probe_database(&app.accounts), refresh_models(app), app.rate_limiter.probe());
}

/// Spawns every background task on `tasks`. Each of them runs until `stop`.
pub(super) fn spawn_all(
    app: &App,
    backlog: Arc<UsageBacklog>,
    process: Uuid,
    key_sweep_interval: Duration,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let accounts = || app.accounts.clone();
    spawn(tasks, stop, accounts().audit().clone().run_maintenance());
    spawn(tasks, stop, app.readiness.clone().run_database_probes(accounts()));
    spawn(tasks, stop, replay::replay(accounts(), backlog));
    spawn(tasks, stop, writer::heartbeat(accounts(), process));
    spawn(tasks, stop, store_last_used(accounts()));
    spawn(tasks, stop, sweep_keys(accounts(), key_sweep_interval));
    spawn(tasks, stop, sweep_sessions(accounts()));
    spawn(tasks, stop, run_model_refreshes(app.clone()));
    let accounts = accounts();
    spawn(tasks, stop, async move { accounts.access().run_cache_invalidation().await });
    let rate_limiter = Arc::clone(&app.rate_limiter);
    spawn(tasks, stop, async move { rate_limiter.run_probes().await });
    let app = app.clone();
    spawn(tasks, stop, async move { app.gateway.run_revocations().await });
}

fn spawn(tasks: &TaskTracker, stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(stop.clone().run_until_cancelled_owned(task));
}

/// Refreshes the list of Ollama's models, and reports to readiness whether Ollama answered.
async fn refresh_models(app: &App) {
    app.readiness.set_ollama(app.gateway.refresh_models().await);
}

async fn run_model_refreshes(app: App) {
    loop {
        sleep(MODELS_REFRESH_INTERVAL).await;
        refresh_models(&app).await;
    }
}

/// Records the expiry of keys. Every replica looks for expired keys; each expiry is recorded once.
async fn sweep_keys(accounts: Accounts, every: Duration) {
    let mut ticks = ticks(every);
    loop {
        ticks.tick().await;
        if let Err(error) = with_db_timeout(accounts.credentials().sweep()).await {
            // The next tick finds the same keys.
            tracing::warn!(?error, "the expiry of keys could not be recorded");
        }
    }
}

/// Removes sessions and failed sign-ins that ended long ago.
async fn sweep_sessions(accounts: Accounts) {
    let mut ticks = ticks(SESSION_SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = with_db_timeout(accounts.sessions().sweep()).await {
            // The next tick finds the same sessions.
            tracing::warn!(?error, "ended sessions could not be removed");
        }
    }
}

/// Stores when keys were last used.
async fn store_last_used(accounts: Accounts) {
    let mut ticks = ticks(LAST_USED_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = with_db_timeout(accounts.usage().store_last_used()).await {
            tracing::warn!(?error, "the last uses of keys could not be stored yet");
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
