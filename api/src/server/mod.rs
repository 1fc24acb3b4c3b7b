//! The server: builds the parts of the API, serves until shutdown, and stops the parts in order.
//!
//! A shutdown has three steps. *Soft*: the server accepts no new connections and closes idle ones;
//! open requests continue. *Hard*, at the end of the drain: streams end with an error event.
//! *Abort*, a second later: remaining connections are dropped.

mod background;
mod connection_limiter;
mod connections;
mod dispatch;
mod io_observer;
mod shutdown;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use paddock_accounts::{Accounts, usage::Spool};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    app::{App, AppState, OpenApiJson},
    auth::{Authenticator, failure_limiter::AuthFailureLimiter, refresh_cookie::RefreshCookie},
    config::Config,
    gateway::{
        Gateway, SetupError,
        usage::{self, UsageBacklog},
    },
    http::{client_ip::TrustedProxies, cors::Origins},
    models::Models,
    openapi,
    rate_limit::{RateLimiter, RedisLimiter},
    routes,
};
use connections::Acceptor;
use dispatch::Dispatcher;
use shutdown::ShutdownSignals;

/// How long storing the last usage records may take at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(700);

/// Why the API cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gateway cannot be set up.
    #[error("OLLAMA_BASE_URL: {0}")]
    Gateway(#[from] SetupError),
    /// `REDIS_URL` is not a Redis URL.
    #[error("REDIS_URL: {0}; set it to a URL such as redis://:password@redis:6379/0")]
    Redis(#[from] redis::RedisError),
    /// The spool of usage records cannot be opened.
    #[error(
        "USAGE_SPOOL_DIR {}: {source}; mount a volume there that this process may write to and that outlives it, or name another folder",
        .folder.display()
    )]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Serves the API and the gateway on the listener until `shutdown`, then drains as
/// [`Config::drain_timeout`] says.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    accounts: Accounts,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let signals = ShutdownSignals::new(shutdown);
    let process = accounts.usage().new_id();
    let backlog = UsageBacklog::new(open_spool(&config, process)?);
    let (recorder, records) = usage::channel(Arc::clone(&backlog));
    let app = build_app(&config, accounts.clone(), recorder, process, &signals)?;

    let flush_deadline = CancellationToken::new();
    let writer = usage::writer::write(accounts.clone(), Arc::clone(&backlog), records, process, flush_deadline.clone());
    let mut writer = tokio::spawn(writer);
    background::probe_all(&app).await;
    let tasks = TaskTracker::new();
    let stop_tasks = CancellationToken::new();
    let address = listener.local_addr().map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
    tracing::info!(address, is_ready = app.readiness.report().is_ready(), "serving the API");
    background::spawn_all(&app, backlog, process, config.sweep_interval, &tasks, &stop_tasks);

    let dispatcher = Dispatcher::new(app.clone(), routes::router(app));
    let acceptor = Acceptor::new(config.connections, config.timeouts.idle, signals.clone());
    let connections = acceptor.accept(listener, |peer| dispatcher.service_for(peer)).await;
    dispatcher.readiness().set_stopping();
    shutdown::drain(&connections, &signals, config.drain_timeout).await;

    stop_tasks.cancel();
    tasks.close();
    tasks.wait().await;
    // This drops the last sender. The writer ends once it has stored every record.
    drop(dispatcher);
    let last_used = timeout(FLUSH_TIMEOUT, accounts.usage().store_last_used());
    let (written, last_used) = tokio::join!(timeout(FLUSH_TIMEOUT, &mut writer), last_used);
    if written.is_err() {
        flush_deadline.cancel();
        // The writer has nothing left to wait for. If it panicked, the panic hook has logged that.
        let _ = writer.await;
    }
    if !matches!(last_used, Ok(Ok(()))) {
        tracing::warn!("cannot store the times of last use");
    }
    Ok(())
}

fn build_app(
    config: &Config,
    accounts: Accounts,
    recorder: usage::Recorder,
    process: Uuid,
    signals: &ShutdownSignals,
) -> Result<App, Error> {
    let readiness = config.readiness.clone();
    let redis = config.redis_url.as_ref().map(|url| RedisLimiter::new(url, readiness.clone())).transpose()?;
    let rate_limiter = Arc::new(RateLimiter::new(config.requests_per_minute, redis));
    let failure_limiter = Arc::new(AuthFailureLimiter::new(config.auth_failures_per_minute));
    let authenticator = Authenticator::new(accounts.clone(), Arc::clone(&failure_limiter), Arc::clone(&rate_limiter));
    let models = Models::new(config, accounts.clone(), signals.soft().clone()).map_err(SetupError::from)?;
    let hard_shutdown = signals.hard().clone();
    let gateway = Gateway::new(
        config,
        accounts.clone(),
        authenticator.clone(),
        models.clone(),
        recorder,
        process,
        hard_shutdown,
    )?;
    let origins = Origins::new(config.cors_allowed_origins.clone(), config.cors_allow_local);
    let refresh_cookie = RefreshCookie::new(config.public_url.as_deref(), origins.clone());
    let openapi = serde_json::to_vec(&openapi()).map(Bytes::from).unwrap_or_default();
    Ok(App::new(AppState {
        accounts,
        authenticator,
        failure_limiter,
        gateway,
        models,
        only_local_hosts: config.only_local_hosts,
        openapi: OpenApiJson(openapi),
        origins,
        rate_limiter,
        readiness,
        refresh_cookie,
        trusted_proxies: TrustedProxies::new(&config.trusted_proxies),
        web_ui: config.web_ui,
    }))
}

/// Opens the spool, in which usage records wait while the database is unavailable.
fn open_spool(config: &Config, process: Uuid) -> Result<Option<Spool>, Error> {
    let Some(folder) = &config.usage_spool_dir else { return Ok(None) };
    let opened = Spool::open(folder, process, config.usage_spool_limit);
    opened.map(Some).map_err(|source| Error::Spool { folder: folder.clone(), source })
}
