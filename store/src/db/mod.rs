//! The database: one interface over PostgreSQL and SQLite.
//!
//! Most statements are written once, with `$1` placeholders, and run on both engines through
//! [`with_conn!`](crate::with_conn). Separate statements exist only where the dialects differ.

pub mod codec;
mod diagnosis;
mod file_access;
mod like;
mod migration_lock;
mod open_error;
mod options;
mod pool;
mod pooler;
mod schema;
mod sqlite;
mod url_parameters;

use std::{sync::Arc, time::Duration};

pub use diagnosis::ConnectDiagnosis;
use futures_util::TryStreamExt as _;
pub use like::like_pattern;
pub use open_error::OpenError;
use options::Engine;
pub use options::{Location, OpenOptions, PostgresParts};
use pool::{Pool, PooledConn};
pub(crate) use schema::Schema;
pub use schema::migrate;
use sqlx::{PgConnection, PgPool, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
pub use url_parameters::UnappliedParameters;

use crate::error::Error;

/// How long a caller waits for a connection before the database counts as unavailable.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs a statement on a [`Conn`] of either engine.
#[macro_export]
macro_rules! with_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::db::Conn::Pg($c) => $body,
            $crate::db::Conn::Sqlite($c) => $body,
        }
    };
}

/// Defines named statements and lists them in `STATEMENTS`. Opening a database prepares every
/// listed statement.
#[macro_export]
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)+
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

/// The pools of one engine. Cheap to clone.
#[derive(Clone)]
pub enum Database {
    #[doc(hidden)]
    Pg(Pool),
    #[doc(hidden)]
    Sqlite(SqlitePools),
}

/// The pools of a SQLite file.
#[derive(Clone)]
pub struct SqlitePools {
    /// Any number of read-only connections.
    read: SqlitePool,
    /// One connection for all writes; `None` when opened read-only. SQLite allows one writer, and
    /// this queue is fair and fast, unlike waiting for the lock of SQLite.
    write: Option<SqlitePool>,
    /// Tracks the tasks that must end before the pools close.
    tasks: TaskTracker,
    /// The lock file, locked while the pools exist, so that only one process serves the file.
    _lock: Option<Arc<std::fs::File>>,
}

/// A borrowed connection of either engine, for one statement.
pub enum Conn<'c> {
    /// PostgreSQL.
    Pg(&'c mut PgConnection),
    /// SQLite.
    Sqlite(&'c mut SqliteConnection),
}

/// A pooled connection for reading. It returns to its pool on drop.
pub struct ReadConn(Reading);

enum Reading {
    Pg(PooledConn),
    Sqlite(PoolConnection<Sqlite>),
}

impl ReadConn {
    /// Borrows the connection for one statement.
    pub fn conn(&mut self) -> Conn<'_> {
        match &mut self.0 {
            Reading::Pg(pooled) => Conn::Pg(pooled.connection()),
            Reading::Sqlite(conn) => Conn::Sqlite(&mut *conn),
        }
    }
}

/// A transaction of either engine. It rolls back on drop. The write door alone hands it out.
pub(crate) struct Transaction(Writing);

enum Writing {
    Pg(PooledConn),
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

impl Transaction {
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match &mut self.0 {
            Writing::Pg(pooled) => Conn::Pg(pooled.connection()),
            Writing::Sqlite(tx) => Conn::Sqlite(&mut *tx),
        }
    }

    /// Locks a row until the transaction ends, so that a value read from it stays current. Does
    /// nothing on SQLite, which has one writer.
    pub(crate) async fn lock(&mut self, table: Lockable, id: i64) -> Result<(), Error> {
        let statement = match table {
            Lockable::Users => "SELECT 1 FROM users WHERE id = $1 FOR UPDATE",
            Lockable::Credentials => "SELECT 1 FROM credentials WHERE id = $1 FOR UPDATE",
        };
        if let Conn::Pg(c) = self.conn() {
            sqlx::query(statement).bind(id).execute(c).await?;
        }
        Ok(())
    }

    /// Commits a change and its audit event.
    ///
    /// On PostgreSQL, a transaction locks `audit_head` until its commit returns, and every other
    /// audited transaction waits for that lock. To hold the lock only briefly, this function
    /// commits twice:
    ///
    /// 1. The first commit is asynchronous: it releases the lock without waiting for the disk.
    /// 2. The second transaction, on the same connection, writes almost nothing and commits
    ///    synchronously. PostgreSQL flushes its log in commit order, so this flush covers the first
    ///    commit too. Many second commits share one flush.
    ///
    /// A crash between the two may lose the change and its event. The crash also breaks the
    /// connection, so the caller gets [`Error::InDoubt`] and no confirmation.
    pub(crate) async fn commit_audited(mut self) -> Result<(), Error> {
        const RELEASE: &str = "COMMIT AND CHAIN; SELECT pg_logical_emit_message(true, 'paddock', '')";
        let Writing::Pg(pooled) = &mut self.0 else { return self.commit().await.map_err(Error::commit) };
        let mut replies = sqlx::raw_sql(RELEASE).execute_many(pooled.connection());
        replies.try_next().await.map_err(Error::commit)?;
        // From here on other transactions can see the change, even if the second commit fails.
        replies.try_collect::<Vec<_>>().await.map_err(Error::InDoubt)?;
        self.commit().await.map_err(Error::InDoubt)
    }

    /// Rolls back, and waits until every change that this transaction could see is on the disk.
    ///
    /// On PostgreSQL, [`Self::commit_audited`] shows a change to others before it is on the disk. A
    /// caller that finds its change made already must not confirm it earlier than that: a crash
    /// could still undo it.
    pub(crate) async fn end_unchanged(mut self) -> Result<(), Error> {
        const IS_FLUSHED: &str = "SELECT pg_current_wal_insert_lsn() <= pg_current_wal_flush_lsn()";
        const FLUSH: &str = "ROLLBACK AND CHAIN; SELECT pg_logical_emit_message(true, 'paddock', '')";
        let Writing::Pg(pooled) = &mut self.0 else { return Ok(()) };
        if sqlx::query_scalar(IS_FLUSHED).fetch_one(pooled.connection()).await? {
            return Ok(());
        }
        sqlx::raw_sql(FLUSH).execute(pooled.connection()).await?;
        Ok(self.commit().await?)
    }

    /// Commits, and waits for the disk.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.0 {
            Writing::Pg(mut pooled) => pooled.commit().await,
            Writing::Sqlite(tx) => tx.commit().await,
        }
    }
}

/// A table with rows that [`Tx::lock`](crate::Tx::lock) can lock.
#[derive(Clone, Copy)]
pub enum Lockable {
    /// `users`.
    Users,
    /// `credentials`.
    Credentials,
}

/// The current number of connections to the database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// Connections in use.
    pub used: f64,
    /// Idle connections.
    pub idle: f64,
    /// The maximum number of connections.
    pub max: f64,
}

impl Database {
    pub(crate) async fn open(options: &OpenOptions) -> Result<Self, OpenError> {
        match options.engine()? {
            Engine::Postgres(connect) => {
                Ok(Self::Pg(Pool::new(options.max_connections, connect).map_err(Error::from)?))
            }
            Engine::Sqlite(connect, path) => sqlite::open(options, connect, &path).await.map(Self::Sqlite),
        }
    }

    /// Acquires a connection for reading.
    pub async fn reader(&self) -> Result<ReadConn, Error> {
        Ok(ReadConn(match self {
            Self::Pg(pool) => Reading::Pg(pool.acquire().await?),
            Self::Sqlite(pools) => Reading::Sqlite(pools.read.acquire().await?),
        }))
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        Ok(Transaction(match self {
            Self::Pg(pool) => Writing::Pg(pool.begin().await?),
            Self::Sqlite(SqlitePools { write: Some(write), .. }) => {
                Writing::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?)
            }
            Self::Sqlite(SqlitePools { write: None, .. }) => return Err(Error::ReadOnly),
        }))
    }

    /// Creates a pool of one connection for `LISTEN`; `None` on SQLite, which only one process
    /// uses.
    #[must_use]
    pub fn listener_pool(&self) -> Option<PgPool> {
        match self {
            Self::Pg(pool) => Some(pool.listener_pool()),
            Self::Sqlite(_) => None,
        }
    }

    /// Whether several processes can use this database at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Pg(_))
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        with_conn!(self.reader().await?.conn(), |c| sqlx::query("SELECT 1").execute(c).await.map(|_| ()))?;
        Ok(())
    }

    /// Fails if PostgreSQL is behind a pooler that gives each transaction another session.
    pub(crate) async fn check_sessions(&self) -> Result<(), OpenError> {
        match self {
            Self::Pg(pool) => pool.check_sessions().await,
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Fails if PostgreSQL is read-only, such as a standby.
    pub(crate) async fn check_writable(&self) -> Result<(), Error> {
        if let Conn::Pg(c) = self.reader().await?.conn() {
            let read_only: String = sqlx::query_scalar("SHOW transaction_read_only").fetch_one(c).await?;
            if read_only == "on" {
                let why = "the database takes no changes: transaction_read_only is on, as on a standby";
                return Err(Error::Unavailable(sqlx::Error::Protocol(why.to_owned())));
            }
        }
        Ok(())
    }

    /// Returns a guard that delays [`Database::close`] until the guard is dropped.
    pub(crate) fn task_guard(&self) -> TaskTrackerToken {
        match self {
            Self::Pg(pool) => pool.task_guard(),
            Self::Sqlite(pools) => pools.tasks.token(),
        }
    }

    pub(crate) fn connections(&self) -> Connections {
        match self {
            Self::Pg(pool) => pool.connections(),
            Self::Sqlite(pools) => {
                let (read, write) = (connections(&pools.read), pools.write.as_ref().map(connections));
                write.into_iter().fold(read, |sum, more| Connections {
                    used: sum.used + more.used,
                    idle: sum.idle + more.idle,
                    max: sum.max + more.max,
                })
            }
        }
    }

    /// Waits for the borrowed connections, then closes every connection except the listener's.
    pub(crate) async fn close(&self) {
        match self {
            Self::Pg(pool) => pool.close().await,
            Self::Sqlite(pools) => {
                pools.tasks.close();
                pools.tasks.wait().await;
                pools.read.close().await;
                if let Some(write) = &pools.write {
                    // The last connection to close checkpoints the write-ahead log, which a
                    // read-only one cannot.
                    write.close().await;
                }
            }
        }
    }
}

fn connections<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Connections {
    // These two reads are not atomic, so the difference may be negative.
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    let used = pool.size().saturating_sub(idle);
    Connections { used: used.into(), idle: idle.into(), max: pool.options().get_max_connections().into() }
}
