//! The pool of connections to PostgreSQL.
//!
//! A clean connection returns to the pool as it is. The other ones are cleaned first, or closed: a
//! connection with a reply that nobody read, or with a transaction that did not end.
//!
//! This is deadpool and not sqlx's `PgPool`, which checks and pings each connection on its return,
//! in a spawned task: two round trips that compete with the next request. On an audit page of 100
//! rows, the p50 is 0.54 ms without them instead of 0.75 ms, and the p99 0.97 ms instead of 1.77 ms.

use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use futures_util::{FutureExt as _, future::join_all};
use scopeguard::ScopeGuard;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    runtime::Handle,
    time::{interval, sleep, timeout},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{ACQUIRE_TIMEOUT, Connections};

/// A connection that was idle for longer is pinged before it is used.
const PING_AFTER: Duration = Duration::from_millis(500);
/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a connection may live. A PostgreSQL session gathers memory, which goes with it.
const MAX_LIFETIME: Duration = Duration::from_mins(30);
/// How often idle and old connections are looked for.
const REVIEW_INTERVAL: Duration = Duration::from_mins(1);
/// The pauses between attempts to connect to a server that is starting.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(10);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long closing one connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connections of one process. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    connections: managed::Pool<Connector>,
    /// The borrowed connections and the tasks that must end before the pool closes. Once this is
    /// closed, the pool hands out nothing.
    tasks: TaskTracker,
}

/// A borrowed connection. It returns to the pool on drop.
pub(super) type PooledConn = ScopeGuard<ConnGuard, fn(ConnGuard)>;

/// A connection outside the pool.
pub(super) struct ConnGuard {
    connection: Object<Connector>,
    /// Whether it may be in a transaction.
    in_transaction: bool,
    _task_guard: TaskTrackerToken,
}

/// Opens connections.
struct Connector(PgConnectOptions);

impl Pool {
    /// Creates a pool without any connection yet: PostgreSQL may start later.
    pub(super) fn new(max_connections: u32, connect: PgConnectOptions) -> Result<Self, sqlx::Error> {
        // One is reserved for the listener.
        let max = max_connections.saturating_sub(1).max(1);
        let connections = managed::Pool::builder(Connector(connect))
            .max_size(usize::try_from(max).unwrap_or(1))
            // The surplus becomes idle, and the connection in use has warm caches.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| sqlx::Error::Configuration(error.into()))?;
        review(&connections);
        Ok(Self { connections, tasks: TaskTracker::new() })
    }

    /// Takes a connection, for at most [`ACQUIRE_TIMEOUT`].
    pub(super) async fn acquire(&self) -> Result<PooledConn, sqlx::Error> {
        // Before the check: either `close` waits for this guard, or the check sees that the pool is closed.
        let task_guard = self.task_guard();
        if self.tasks.is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let connection = match timeout(ACQUIRE_TIMEOUT, self.connections.get()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(PoolError::Backend(error))) => return Err(error),
            Ok(Err(_)) | Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        Ok(scopeguard::guard(ConnGuard { connection, in_transaction: false, _task_guard: task_guard }, give_back))
    }

    /// Takes a connection and begins a transaction. Dropped before [`ConnGuard::commit`], it rolls back.
    pub(super) async fn begin(&self) -> Result<PooledConn, sqlx::Error> {
        let mut pooled = self.acquire().await?;
        // Before the statement: if its reply is not read, the transaction may have begun.
        pooled.in_transaction = true;
        pooled.connection.execute("BEGIN").await?;
        Ok(pooled)
    }

    /// A pool of one connection for `LISTEN`: sqlx's listener needs a pool.
    pub(super) fn listener_pool(&self) -> PgPool {
        let connect = self.connections.manager().0.clone();
        PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(connect)
    }

    /// Closes every connection, after the borrowed ones have returned.
    pub(super) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        close(self.connections.retain(|_, _| false).removed).await;
    }

    /// A guard that delays [`Pool::close`] until it is dropped.
    pub(super) fn task_guard(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    pub(super) fn connections(&self) -> Connections {
        let status = self.connections.status();
        let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let used = status.size.saturating_sub(status.available);
        Connections { used: count(used), idle: count(status.available), max: count(status.max_size) }
    }
}

impl ConnGuard {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Commits the transaction.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Whether no reply is pending and no transaction is open.
    fn is_clean(&mut self) -> bool {
        // `flush` is not documented by sqlx. It waits until the connection is ready for the next
        // statement: a connection that has to wait is not clean.
        !self.in_transaction && self.connection.flush().now_or_never().is_some_and(|ready| ready.is_ok())
    }

    /// Reads pending replies and rolls back an open transaction.
    async fn clean(&mut self) -> Result<(), sqlx::Error> {
        if self.in_transaction {
            self.connection.execute("ROLLBACK").await?;
            self.in_transaction = false;
            return Ok(());
        }
        self.connection.ping().await
    }
}

/// Returns a connection to the pool. A connection that cannot be cleaned is closed: if the server
/// vanished silently, the connection would block its slot until the kernel gives up, after a quarter
/// of an hour.
fn give_back(guard: ConnGuard) {
    // By default the connection leaves the pool: only a clean one returns.
    let mut guard = scopeguard::guard(guard, |guard| drop(Object::take(guard.connection)));
    if guard.is_clean() {
        drop(ScopeGuard::into_inner(guard));
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        match timeout(ACQUIRE_TIMEOUT, guard.clean()).await {
            Ok(Ok(())) => drop(ScopeGuard::into_inner(guard)),
            Ok(Err(error)) => tracing::warn!(%error, "discarding a database connection"),
            Err(_) => tracing::warn!("discarding a database connection that does not answer"),
        }
    });
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Connects, and retries while the server refuses connections, is starting or is full. The caller
    /// bounds the wait.
    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let mut pause = MIN_RETRY_PAUSE;
        loop {
            // Boxed, to keep the common case, an idle connection, small.
            match Box::pin(self.0.connect()).await {
                Err(error) if is_starting(&error) => sleep(pause).await,
                settled => return settled,
            }
            pause = (pause * 2).min(MAX_RETRY_PAUSE);
        }
    }

    /// Pings a connection that was not used recently.
    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > MAX_LIFETIME {
            return Err(RecycleError::message("its time is over"));
        }
        if metrics.last_used() > PING_AFTER {
            Box::pin(connection.ping()).await.map_err(RecycleError::Backend)?;
        }
        Ok(())
    }
}

fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        // cannot_connect_now, too_many_connections
        sqlx::Error::Database(said) => matches!(said.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

/// Closes idle and old connections, as long as the pool exists.
fn review(connections: &managed::Pool<Connector>) {
    let connections = connections.weak();
    tokio::spawn(async move {
        let mut every = interval(REVIEW_INTERVAL);
        loop {
            every.tick().await;
            let Some(connections) = connections.upgrade() else { return };
            let kept =
                connections.retain(|_, metrics| metrics.last_used() < IDLE_TIMEOUT && metrics.age() < MAX_LIFETIME);
            close(kept.removed).await;
        }
    });
}

/// Closes connections, each within [`CLOSE_TIMEOUT`].
async fn close(connections: Vec<PgConnection>) {
    let closing = connections.into_iter().map(|connection| timeout(CLOSE_TIMEOUT, connection.close()));
    join_all(closing).await;
}
