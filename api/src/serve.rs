//! The server: puts its parts together, and ends them in order when it is told to.
//!
//! Shutdown has three steps. *Soft*: no new connections, idle ones close, what is open goes on. *Hard*, when the drain is
//! over: streams end with an error event. *Abort*, a second later: whatever is left is dropped.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use paddock_accounts::{Accounts, usage::Spool};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    app::{App, Parts},
    config::Config,
    connections::{Phases, accept, end},
    cors::Origins,
    front::Front,
    gateway::{
        Gateway, GatewayError,
        usage::{
            self,
            writer::{self, Waiting},
        },
    },
    limits::{Limits, Link, guesses::Guesses},
    openapi,
    proxies::Proxies,
    routes::{self, cookie::Cookies},
    sweep,
};

/// How long the last usage records have to be stored.
const LAST_RECORDS: Duration = Duration::from_millis(700);

/// Why the API cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gateway cannot be set up.
    #[error("OLLAMA_BASE_URL: {0}")]
    Gateway(#[from] GatewayError),
    /// Requests cannot be counted there.
    #[error("REDIS_URL: {0}; set it to a URL such as redis://:password@redis:6379/0")]
    Redis(#[from] redis::RedisError),
    /// Usage has no place to wait in.
    #[error("USAGE_SPOOL_DIR {}: {source}; name a folder that this process may write to and that outlives it", .folder.display())]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Serves the API and the gateway on the listener until `shutdown`, and then ends as [`Config::drain`] says.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    accounts: Accounts,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let phases = Phases::new(shutdown);
    let process = accounts.usage().new_id();
    let waiting = Waiting::new(open_spool(&config, process)?);
    let (recorder, records) = usage::channel(Arc::clone(&waiting));
    let gateway = Gateway::new(&config, recorder, phases.hard().clone())?;
    let openapi = serde_json::to_vec(&openapi()).map(Bytes::from).unwrap_or_default();
    let origins = Origins::new(config.cors_allowed_origins.clone(), config.cors_allow_local);
    let cookies = Cookies::new(config.public_url.as_deref(), config.secure_cookies, origins.clone());
    let readiness = config.readiness.clone();
    let link = config.redis_url.as_ref().map(|url| Link::new(url, readiness.clone())).transpose()?;
    let limits = Limits::new(config.requests_per_minute, link);
    let proxies = Proxies::new(&config.trusted_proxies);
    let guesses = Guesses::new(config.auth_failures_per_minute);
    let app = App::new(Parts {
        accounts: accounts.clone(),
        gateway,
        limits,
        guesses,
        proxies,
        origins,
        readiness,
        cookies,
        only_local_hosts: config.only_local_hosts,
        openapi,
    });

    let given_up = CancellationToken::new();
    let mut writer =
        tokio::spawn(writer::write(accounts.clone(), Arc::clone(&waiting), records, process, given_up.clone()));
    tokio::join!(app.readiness.look(&accounts), app.gateway.look(&app.readiness), app.limits.look());
    let watches = TaskTracker::new();
    let watching = CancellationToken::new();
    watches.spawn(watching.clone().run_until_cancelled_owned(accounts.audit().clone().run_maintenance()));
    watches.spawn(watching.clone().run_until_cancelled_owned(app.readiness.clone().watch(accounts.clone())));
    watches.spawn(watching.clone().run_until_cancelled_owned(writer::replay(accounts.clone(), waiting)));
    watches.spawn(watching.clone().run_until_cancelled_owned(writer::attend(accounts.clone(), process)));
    watches.spawn(watching.clone().run_until_cancelled_owned(sweep::last_used(accounts.clone())));
    watches.spawn(watching.clone().run_until_cancelled_owned(gateway_watch(app.clone())));
    watches.spawn(watching.clone().run_until_cancelled_owned(cache_watch(app.clone())));
    watches.spawn(watching.clone().run_until_cancelled_owned(limits_watch(app.clone())));
    watches.spawn(watching.clone().run_until_cancelled_owned(warden_watch(app.clone())));
    watches.spawn(watching.clone().run_until_cancelled_owned(sweep::keys(app.clone(), config.sweep_every)));
    watches.spawn(watching.clone().run_until_cancelled_owned(sweep::sessions(app.clone())));

    let front = Front { routes: routes::router(app.clone()), app };
    let connections = accept(listener, config.connections, config.timeouts.idle, &front, &phases).await;
    front.app.readiness.stopping();
    end(&connections, &phases, config.drain).await;

    watching.cancel();
    watches.close();
    watches.wait().await;
    // With the last sender gone, the writer ends when it has stored what there is.
    drop(front);
    let used = timeout(LAST_RECORDS, accounts.usage().store_last_used());
    let (written, used) = tokio::join!(timeout(LAST_RECORDS, &mut writer), used);
    if written.is_err() {
        given_up.cancel();
        // It has nothing left to wait for; should it have panicked, the panic hook has told.
        let _ = writer.await;
    }
    if !matches!(used, Ok(Ok(()))) {
        tracing::warn!("the last uses of keys could not be stored");
    }
    Ok(())
}

/// The place where usage waits while the database is away.
fn open_spool(config: &Config, process: Uuid) -> Result<Option<Spool>, Error> {
    let Some(folder) = &config.usage_spool_dir else { return Ok(None) };
    let opened = Spool::open(folder, process, config.usage_spool_limit);
    opened.map(Some).map_err(|source| Error::Spool { folder: folder.clone(), source })
}

async fn gateway_watch(app: App) {
    app.gateway.watch(&app.readiness).await;
}

async fn cache_watch(app: App) {
    app.accounts.access().run_cache_invalidation().await;
}

async fn limits_watch(app: App) {
    app.limits.watch().await;
}

async fn warden_watch(app: App) {
    app.gateway.keep_watch(&app.accounts).await;
}
