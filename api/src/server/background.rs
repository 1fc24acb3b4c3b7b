//! Background tasks of the server: probes, cache invalidation, usage upload and periodic cleanup.

use std::{sync::Arc, time::Duration};

use paddock_accounts::Error;
use paddock_store::error_chain;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    app::App,
    gateway::{
        MODELS_REFRESH_INTERVAL,
        usage::{UsageBacklog, replay, writer},
    },
    http::deadline::with_db_timeout,
    readiness::BackendProblem,
};

/// The time between two removals of expired sessions.
const SESSION_SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// The time between two removals of old pulls.
const PULL_SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// The time between two writes of when keys were last used.
const LAST_USED_INTERVAL: Duration = Duration::from_mins(1);

/// Probes the database, Ollama and Redis once, concurrently.
pub(super) async fn probe_all(app: &App) {
    let ollama = async {
        app.gateway.resolve_backends().await;
        refresh_models(app).await;
    };
    tokio::join!(app.readiness.probe_database(&app.accounts), ollama, app.rate_limiter.probe());
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
    let store = accounts();
    spawn(tasks, stop, async move {
        run_every(LAST_USED_INTERVAL, "store times of last use", || store.usage().store_last_used()).await;
    });
    let sweep = accounts();
    spawn(tasks, stop, async move {
        run_every(key_sweep_interval, "record expired keys", || sweep.credentials().sweep()).await;
    });
    let sweep = accounts();
    spawn(tasks, stop, async move {
        run_every(SESSION_SWEEP_INTERVAL, "remove ended sessions", || sweep.sessions().sweep()).await;
    });
    let sweep = accounts();
    spawn(tasks, stop, async move {
        run_every(PULL_SWEEP_INTERVAL, "remove old pulls", || sweep.pulls().sweep()).await;
    });
    // Not stopped from outside: it gives its claims up first.
    tasks.spawn(app.models.clone().run_pulls(stop.clone()));
    spawn(tasks, stop, run_model_refreshes(app.clone()));
    let gateway = app.clone();
    spawn(tasks, stop, async move { gateway.gateway.run_discovery().await });
    let accounts = accounts();
    spawn(tasks, stop, async move { accounts.authentication().run_cache_invalidation().await });
    let rate_limiter = Arc::clone(&app.rate_limiter);
    spawn(tasks, stop, async move { rate_limiter.run_probes().await });
    let app = app.clone();
    spawn(tasks, stop, async move { app.gateway.run_revocations().await });
}

fn spawn(tasks: &TaskTracker, stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(stop.clone().run_until_cancelled_owned(task));
}

/// Refreshes the lists of models, and reports to readiness which backends answered.
async fn refresh_models(app: &App) {
    app.readiness.set_ollama(app.gateway.refresh_models().await);
    let problems = app.gateway.backend_problems().into_iter();
    app.readiness
        .set_backend_problems(problems.map(|(backend, problem)| BackendProblem { backend, problem }).collect());
}

async fn run_model_refreshes(app: App) {
    loop {
        let changed = app.gateway.backends_changed();
        tokio::select! {
            () = sleep(MODELS_REFRESH_INTERVAL) => {}
            () = changed => {}
        }
        refresh_models(&app).await;
    }
}

/// Runs a task at every interval. The next run makes up for one that fails.
async fn run_every<F: Future<Output = Result<(), Error>>>(every: Duration, task: &'static str, run: impl Fn() -> F) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = with_db_timeout(run()).await {
            tracing::warn!(task, error = error_chain(&error), "background task failed");
        }
    }
}
