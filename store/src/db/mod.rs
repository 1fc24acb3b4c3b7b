//! The database: one interface over PostgreSQL and SQLite.
//!
//! Each statement is written once, with `$1` placeholders, and runs on both engines through
//! [`with_conn!`](crate::with_conn). A statement differs only where the dialects do.

pub mod codec;
mod diagnosis;
mod open_error;
mod options;
mod pool;
mod schema;
mod sqlite;

use std::{sync::Arc, time::Duration};

pub use diagnosis::ConnectDiagnosis;
use futures_util::TryStreamExt as _;
pub use open_error::OpenError;
use options::Engine;
pub use options::OpenOptions;
use pool::{Pool, PooledConn};
pub(crate) use schema::Schema;
pub use schema::migrate;
use sqlx::{PgConnection, PgPool, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::error::Error;

/// How long a caller waits for a connection. After that the database counts as unavailable.
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

/// Defines named statements. `STATEMENTS` lists them, so that each is prepared when a database is
/// opened.
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
    /// One connection, on which all writes queue. SQLite has one writer, and waiting for its lock is
    /// slower and unfair. `None` if the file is opened read-only.
    write: Option<SqlitePool>,
    /// The tasks that must end before the pools close.
    tasks: TaskTracker,
    /// Held as long as the pools exist, so that only one process serves the file.
    _lock: Option<Arc<std::fs::File>>,
}

/// A borrowed connection of either engine, for one statement.
pub enum Conn<'c> {
    /// PostgreSQL.
    Pg(&'c mut PgConnection),
    /// SQLite.
    Sqlite(&'c mut SqliteConnection),
}

/// A connection to read from. It returns to its pool on drop.
pub struct ReadConn(Reading);

enum Reading {
    Pg(PooledConn),
    Sqlite(PoolConnection<Sqlite>),
}

impl ReadConn {
    /// The connection, for one statement.
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

    /// Locks a row: see [`Tx::lock`](crate::Tx::lock).
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

    /// Commits a change and its event. Fails with [`Error::InDoubt`] if the change may be committed.
    ///
    /// On PostgreSQL a transaction holds the lock on `audit_head` until its commit returns, and every
    /// other audited transaction waits for this lock. So the first transaction commits without waiting
    /// for the disk, which releases the lock. Then a second transaction begins on the same connection,
    /// writes almost nothing, and does wait for the disk. The write-ahead log reaches the disk in the
    /// order of commits: once the second transaction is on disk, the first one is too. Many second
    /// transactions share one flush.
    ///
    /// A crash between the two may lose the change and its event. The connection breaks in such a
    /// crash, so no caller is told that the change was made.
    pub(crate) async fn commit_audited(mut self) -> Result<(), Error> {
        const RELEASE: &str = "COMMIT AND CHAIN; SELECT pg_logical_emit_message(true, 'paddock', '')";
        let Writing::Pg(pooled) = &mut self.0 else { return self.commit().await.map_err(Error::commit) };
        let mut replies = sqlx::raw_sql(RELEASE).execute_many(pooled.connection());
        replies.try_next().await.map_err(Error::commit)?;
        // The change is visible to others from here on, whatever fails.
        replies.try_collect::<Vec<_>>().await.map_err(Error::InDoubt)?;
        self.commit().await.map_err(Error::InDoubt)
    }

    /// Commits, and waits for the disk.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.0 {
            Writing::Pg(mut pooled) => pooled.commit().await,
            Writing::Sqlite(tx) => tx.commit().await,
        }
    }
}

/// A table whose rows can be locked.
#[derive(Clone, Copy)]
pub enum Lockable {
    /// `users`.
    Users,
    /// `credentials`.
    Credentials,
}

/// The number of connections to the database at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// In use.
    pub used: f64,
    /// Open and idle.
    pub idle: f64,
    /// The maximum.
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

    /// Takes a connection to read from.
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

    /// Creates a pool of one connection for `LISTEN`; `None` on SQLite, which has only one process.
    #[must_use]
    pub fn listener_pool(&self) -> Option<PgPool> {
        match self {
            Self::Pg(pool) => Some(pool.listener_pool()),
            Self::Sqlite(_) => None,
        }
    }

    /// Whether several processes may use this database at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Pg(_))
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        with_conn!(self.reader().await?.conn(), |c| sqlx::query("SELECT 1").execute(c).await.map(|_| ()))?;
        Ok(())
    }

    /// Checks that PostgreSQL accepts writes: a standby does not, and an admin can make a server
    /// read-only.
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

    /// A guard that delays [`Database::close`] until it is dropped.
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

    /// Closes every connection except the listener's, after the borrowed connections have returned.
    pub(crate) async fn close(&self) {
        match self {
            Self::Pg(pool) => pool.close().await,
            Self::Sqlite(pools) => {
                pools.tasks.close();
                pools.tasks.wait().await;
                pools.read.close().await;
                if let Some(write) = &pools.write {
                    // Last: the last connection to close merges the write-ahead log into the file.
                    write.close().await;
                }
            }
        }
    }
}

fn connections<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Connections {
    // Not one snapshot: another thread may run between the two reads.
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    let used = pool.size().saturating_sub(idle);
    Connections { used: used.into(), idle: idle.into(), max: pool.options().get_max_connections().into() }
}
