//! The connections to PostgreSQL, which are lent and come back.
//!
//! One that comes back at rest is lent again as it is. The pool that sqlx brings asks each one first, in a task of its own,
//! whether it still answers, which for a small query is as much again as the query. What is not at rest is brought to rest
//! before it is lent again, or closed: an answer that nobody waits for any more, and a transaction that did not end.

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

use super::{ACQUIRE_TIMEOUT, Connections, OpenOptions};

/// How long ago a connection may have been lent to be taken for a live one.
const TRUSTED: Duration = Duration::from_millis(500);
/// How long a connection is kept that nobody needs.
const IDLE: Duration = Duration::from_mins(10);
/// How long a connection is kept: what a session of PostgreSQL gathers in memory goes with it.
const LIFETIME: Duration = Duration::from_mins(30);
/// How often it is looked for those whose time is over.
const REVIEW: Duration = Duration::from_mins(1);
/// The pauses between attempts to connect to a server that is about to come.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long it may take to tell the server of the end of a connection.
const FAREWELL: Duration = Duration::from_secs(1);

/// The connections of one process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    connections: managed::Pool<Connector>,
    /// Those that have not come back, and what else has to end before the pool does. Closed, nothing is lent any more.
    under_way: TaskTracker,
}

/// A connection that is lent; dropped, it goes back.
pub(crate) type Lent = ScopeGuard<Held, fn(Held)>;

/// A connection that is not in the pool.
pub(crate) struct Held {
    connection: Object<Connector>,
    /// Whether it may be in a transaction.
    in_transaction: bool,
    _under_way: TaskTrackerToken,
}

/// Where connections come from.
struct Connector(PgConnectOptions);

impl Pool {
    /// None of its connections is there yet: PostgreSQL may come later.
    pub(super) fn new(options: &OpenOptions, connect: PgConnectOptions) -> Result<Self, sqlx::Error> {
        // One is left for whoever listens.
        let most = options.max_connections.saturating_sub(1).max(1);
        let connections = managed::Pool::builder(Connector(connect))
            .max_size(usize::try_from(most).unwrap_or(1))
            // So that those that nobody needs come to be idle, and the one that is lent has its caches warm.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| sqlx::Error::Configuration(error.into()))?;
        review(&connections);
        Ok(Self { connections, under_way: TaskTracker::new() })
    }

    /// Lends a connection.
    pub(super) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        // Before the look, so that whoever closes the pool waits for this one, or this one sees that it is closed.
        let under_way = self.under_way();
        if self.under_way.is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let connection = match timeout(ACQUIRE_TIMEOUT, self.connections.get()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(PoolError::Backend(error))) => return Err(error),
            Ok(Err(_)) | Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        Ok(scopeguard::guard(Held { connection, in_transaction: false, _under_way: under_way }, give_back))
    }

    /// Lends a connection in a transaction; dropped before [`Held::commit`], it rolls back.
    pub(super) async fn begin(&self) -> Result<Lent, sqlx::Error> {
        let mut lent = self.lend().await?;
        // Before it is: nobody knows what comes of it if the answer is not waited for.
        lent.in_transaction = true;
        lent.connection.execute("BEGIN").await?;
        Ok(lent)
    }

    /// A connection of its own for whoever listens, as a pool of one: that is what sqlx listens on.
    pub(crate) fn of_one(&self) -> PgPool {
        let connect = self.connections.manager().0.clone();
        PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(connect)
    }

    /// Ends every connection, after those that are lent have come back.
    pub(super) async fn close(&self) {
        self.under_way.close();
        self.under_way.wait().await;
        close(self.connections.retain(|_, _| false).removed).await;
    }

    /// Something that has to end before the pool does; dropped, it has.
    pub(super) fn under_way(&self) -> TaskTrackerToken {
        self.under_way.token()
    }

    pub(super) fn count(&self) -> Connections {
        let status = self.connections.status();
        let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let used = status.size.saturating_sub(status.available);
        Connections { used: count(used), idle: count(status.available), max: count(status.max_size) }
    }
}

impl Held {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Ends the transaction, and keeps what was done in it.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Whether nothing is left to do: no answer is to come, and no transaction to end.
    fn is_at_rest(&mut self) -> bool {
        // `flush` is not in sqlx's documentation. It waits until a connection is ready for the next statement: one that has
        // to wait is not at rest.
        !self.in_transaction && self.connection.flush().now_or_never().is_some_and(|ready| ready.is_ok())
    }

    /// Waits for what is still to come, and ends what did not end.
    async fn come_to_rest(&mut self) -> Result<(), sqlx::Error> {
        if self.in_transaction {
            self.connection.execute("ROLLBACK").await?;
            self.in_transaction = false;
            return Ok(());
        }
        self.connection.ping().await
    }
}

/// Takes a connection back. One that does not come to rest is closed: where the other end has gone without a word, its place
/// would be taken until the kernel gives up, a quarter of an hour later.
fn give_back(held: Held) {
    // Whatever happens: none goes back that is not known to be at rest.
    let mut held = scopeguard::guard(held, |held| drop(Object::take(held.connection)));
    if held.is_at_rest() {
        drop(ScopeGuard::into_inner(held));
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        match timeout(ACQUIRE_TIMEOUT, held.come_to_rest()).await {
            Ok(Ok(())) => drop(ScopeGuard::into_inner(held)),
            Ok(Err(error)) => tracing::warn!(%error, "a connection to the database is given up"),
            Err(_) => tracing::warn!("a connection to the database does not come to rest, and is given up"),
        }
    });
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Tries again while nobody listens there, and while the server begins or has no place: whoever waits for a connection
    /// says for how long.
    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Boxed, so that what asks for a connection, which mostly is there, has no room for this.
            match Box::pin(self.0.connect()).await {
                Err(error) if is_about_to_come(&error) => sleep(pause).await,
                settled => return settled,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks a connection whether it is still there, unless it was in use a moment ago: then a request need not wait for that.
    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > LIFETIME {
            return Err(RecycleError::message("its time is over"));
        }
        if metrics.last_used() > TRUSTED {
            Box::pin(connection.ping()).await.map_err(RecycleError::Backend)?;
        }
        Ok(())
    }
}

fn is_about_to_come(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        // cannot_connect_now, too_many_connections
        sqlx::Error::Database(said) => matches!(said.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

/// Closes connections whose time is over, for as long as there is a pool.
fn review(connections: &managed::Pool<Connector>) {
    let connections = connections.weak();
    tokio::spawn(async move {
        let mut every = interval(REVIEW);
        loop {
            every.tick().await;
            let Some(connections) = connections.upgrade() else { return };
            let kept = connections.retain(|_, metrics| metrics.last_used() < IDLE && metrics.age() < LIFETIME);
            close(kept.removed).await;
        }
    });
}

/// Tells the server of the end of these, if it listens.
async fn close(connections: Vec<PgConnection>) {
    let closing = connections.into_iter().map(|connection| timeout(FAREWELL, connection.close()));
    join_all(closing).await;
}
