//! The database: one store over two engines, with two doors.
//!
//! Each statement stands once and is sent to whichever engine serves: `$1` works on both. [`Store::write`] is the door for
//! everything that grants, takes or changes; it cannot commit without an audit event. [`Store::record`] is the door for a
//! closed list of tables that grant nothing.

mod codec;
mod open;
mod options;
mod postgres;
mod schema;
mod sqlite;
mod unusable;

use std::{sync::Arc, time::Duration};

pub(crate) use codec::Columns;
use futures_util::TryStreamExt as _;
pub use options::{OpenError, OpenOptions};
pub(crate) use postgres::Pool;
pub use schema::migrate;
use scoped_futures::ScopedBoxFuture;
use sqlx::{PgConnection, Sqlite, SqliteConnection, SqlitePool, Transaction, pool::PoolConnection};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument as _;
pub use unusable::Unusable;

use crate::{
    audit::{Chain, Event, Head},
    cache::{self, Cache},
    clock::Clock,
    context::Context,
    error::Error,
    users::UserId,
};

/// The pools of one engine. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Store {
    Pg(Pool),
    Sqlite {
        /// Any number of connections, read-only.
        read: SqlitePool,
        /// One connection, on which all writes queue: SQLite has one writer, and waiting here is fair and fast where
        /// waiting for its lock is neither. `None` when opened only to read.
        write: Option<SqlitePool>,
        /// What has to end before the store does.
        under_way: TaskTracker,
        /// Held for as long as the store is, so that one process serves the file.
        _lock: Option<Arc<std::fs::File>>,
    },
}

/// A connection of either engine, lent to one statement.
pub(crate) enum Conn<'c> {
    Pg(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

/// A connection of either engine, taken out of its pool to read; dropped, it goes back.
pub(crate) enum Reader {
    Pg(postgres::Lent),
    Sqlite(PoolConnection<Sqlite>),
}

impl Reader {
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Pg(lent) => Conn::Pg(lent.connection()),
            Self::Sqlite(conn) => Conn::Sqlite(&mut *conn),
        }
    }
}

/// A transaction of either engine; dropped, it rolls back.
pub(crate) enum Tx {
    Pg(postgres::Lent),
    Sqlite(Transaction<'static, Sqlite>),
}

/// Sends a statement to whichever engine the connection is of.
macro_rules! on {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Pg($c) => $body,
            $crate::store::Conn::Sqlite($c) => $body,
        }
    };
}
pub(crate) use on;

/// Names statements, and lists them so that every one of them can be prepared when a database is opened.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)+
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}
pub(crate) use statements;

/// The connections to the database at one moment, as gauges show them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// At work.
    pub used: f64,
    /// Open, and waiting for work.
    pub idle: f64,
    /// The most there may be.
    pub max: f64,
}

/// How long a request waits for a connection before the database counts as away.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a mutation that lost a race is run.
const MAX_TRIES: u32 = 3;

/// What belongs to every commit beside the change itself.
#[derive(Clone, Copy)]
pub(crate) struct Sealing<'a> {
    /// Where its event goes.
    pub(crate) chain: &'a Chain,
    /// Who has to hear that rights changed.
    pub(crate) cache: &'a Arc<Cache>,
    pub(crate) clock: &'a Arc<dyn Clock>,
}

/// What a mutation came to.
pub(crate) enum Outcome<T> {
    /// Something changed, and this is the event that says so: both commit, or neither.
    Changed(T, Box<Event>),
    /// Nothing changed: the transaction rolls back and leaves no event.
    Unchanged(T),
}

/// A mutation under way: it borrows the transaction for `'t`, and what its caller lends it for `'e`.
///
/// Boxed, because the compiler cannot tell that what an `AsyncFn` returns may move between threads.
pub(crate) type Mutation<'e, 't, T> = ScopedBoxFuture<'e, 't, Result<Outcome<T>, Error>>;

impl<T> Outcome<T> {
    pub(crate) fn changed(value: T, event: Event) -> Self {
        Self::Changed(value, Box::new(event))
    }
}

impl Tx {
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Pg(lent) => Conn::Pg(lent.connection()),
            Self::Sqlite(tx) => Conn::Sqlite(&mut *tx),
        }
    }

    /// Commits a change and its event.
    ///
    /// On PostgreSQL every other audited transaction waits for the lock on `audit_head`, which is held until a commit
    /// returns. So this one commits without waiting for the disk, which frees the lock, and begins another on the same
    /// connection, which writes next to nothing and does wait. The log reaches the disk in the order of commits: when the
    /// second has, the first one has too, and many of the second share one flush. A crash between the two may take the
    /// change away, and its event; the connection does not survive that, and so nobody is told that it was done.
    async fn commit_audited(mut self) -> Result<(), Error> {
        const RELEASE: &str = "COMMIT AND CHAIN; SELECT pg_logical_emit_message(true, 'paddock', '')";
        let Self::Pg(lent) = &mut self else { return self.commit().await.map_err(Error::commit) };
        let mut answers = sqlx::raw_sql(RELEASE).execute_many(lent.connection());
        answers.try_next().await.map_err(Error::commit)?;
        // Whatever fails from here on, everybody may have seen the change by now.
        answers.try_collect::<Vec<_>>().await.map_err(Error::InDoubt)?;
        self.commit().await.map_err(Error::InDoubt)
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Pg(mut lent) => lent.commit().await,
            Self::Sqlite(tx) => tx.commit().await,
        }
    }
}

/// Locks a row until the transaction ends, so that what is read next is what is changed. SQLite has one writer anyhow.
pub(crate) async fn lock(tx: &mut Tx, table: Lockable, id: i64) -> Result<(), Error> {
    let statement = match table {
        Lockable::Users => "SELECT 1 FROM users WHERE id = $1 FOR UPDATE",
        Lockable::Credentials => "SELECT 1 FROM credentials WHERE id = $1 FOR UPDATE",
    };
    if let Conn::Pg(c) = tx.conn() {
        sqlx::query(statement).bind(id).execute(c).await?;
    }
    Ok(())
}

/// The tables whose rows are locked.
#[derive(Clone, Copy)]
pub(crate) enum Lockable {
    Users,
    Credentials,
}

impl Store {
    /// A connection to read from.
    pub(crate) async fn reader(&self) -> Result<Reader, Error> {
        Ok(match self {
            Self::Pg(pool) => Reader::Pg(pool.lend().await?),
            Self::Sqlite { read, .. } => Reader::Sqlite(read.acquire().await?),
        })
    }

    /// The first door: runs a mutation and commits it together with its audit event.
    ///
    /// A caller that is dropped before the commit rolls back, change and event alike. The commit, and what has to follow
    /// it, runs in a task of its own, so that a client that leaves cannot come between them.
    pub(crate) async fn write<'e, T: Send + 'static>(
        &self,
        sealing: &Sealing<'_>,
        context: &Context,
        f: impl for<'t> Fn(&'t mut Tx) -> Mutation<'e, 't, T> + Sync,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_write(sealing, context, &f).await {
                // Someone else was first with a unique value: run again, and see it.
                Err(error) if error.is_race() && tries < MAX_TRIES => {}
                settled => return settled,
            }
        }
    }

    async fn try_write<'e, T: Send + 'static>(
        &self,
        sealing: &Sealing<'_>,
        context: &Context,
        f: &(impl for<'t> Fn(&'t mut Tx) -> Mutation<'e, 't, T> + Sync),
    ) -> Result<T, Error> {
        let mut tx = self.begin().await?;
        match f(&mut tx).await? {
            Outcome::Unchanged(value) => Ok(value),
            Outcome::Changed(value, event) => {
                let changed = event.rights_changed();
                for user in &changed {
                    cache::notify(tx.conn(), *user).await?;
                }
                let head = sealing.chain.append(&mut tx, Chain::entry(*event, context, sealing.clock.now())).await?;
                self.commit(sealing, tx, head, changed).await?;
                Ok(value)
            }
        }
    }

    /// The first door for events that no change belongs to: all of them commit, or none. A few hundred at the most.
    pub(crate) async fn write_events(&self, sealing: &Sealing<'_>, events: Vec<(Event, Context)>) -> Result<(), Error> {
        debug_assert!(events.iter().all(|(event, _)| event.rights_changed().is_empty()), "rights change with a change");
        let now = sealing.clock.now();
        let mut tx = self.begin().await?;
        let rows = events.into_iter().map(|(event, context)| Chain::entry(event, &context, now)).collect();
        let head = sealing.chain.append_all(&mut tx, rows).await?;
        self.commit(sealing, tx, head, Vec::new()).await
    }

    /// Commits what has been appended to the log up to this head, after which the rights of these users may be others.
    async fn commit(&self, sealing: &Sealing<'_>, tx: Tx, head: Head, changed: Vec<UserId>) -> Result<(), Error> {
        let (cache, store, heads) = (Arc::clone(sealing.cache), self.clone(), sealing.chain.heads().clone());
        let under_way = self.under_way();
        let committing = async move {
            let _until_told = under_way;
            let committed = tx.commit_audited().await;
            // Also where that failed: whether it took hold is not known then.
            for user in changed {
                cache.changed(user);
            }
            committed?;
            heads.moved(&store, head).await;
            Ok(())
        };
        tokio::spawn(committing.in_current_span()).await.map_err(|_| Error::Stopping)?
    }

    /// The second door: for usage and times of last use, which grant nothing and leave no event.
    pub(crate) async fn record<'e, T>(
        &self,
        f: impl for<'t> FnOnce(&'t mut Tx) -> ScopedBoxFuture<'e, 't, Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut tx = self.begin().await?;
        let value = f(&mut tx).await?;
        tx.commit().await?;
        Ok(value)
    }

    async fn begin(&self) -> Result<Tx, Error> {
        Ok(match self {
            Self::Pg(pool) => Tx::Pg(pool.begin().await?),
            Self::Sqlite { write: Some(write), .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Self::Sqlite { write: None, .. } => return Err(Error::ReadOnly),
        })
    }

    /// Something that has to end before the store does; dropped, it has.
    fn under_way(&self) -> TaskTrackerToken {
        match self {
            Self::Pg(pool) => pool.under_way(),
            Self::Sqlite { under_way, .. } => under_way.token(),
        }
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> Connections {
        match self {
            Self::Pg(pool) => pool.count(),
            Self::Sqlite { read, write, .. } => {
                let (read, write) = (connections(read), write.as_ref().map(connections));
                write.into_iter().fold(read, |sum, more| Connections {
                    used: sum.used + more.used,
                    idle: sum.idle + more.idle,
                    max: sum.max + more.max,
                })
            }
        }
    }

    /// Ends every connection but one that listens, after those that are lent have come back.
    pub(crate) async fn close(&self) {
        match self {
            Self::Pg(pool) => pool.close().await,
            Self::Sqlite { read, write, under_way, .. } => {
                under_way.close();
                under_way.wait().await;
                read.close().await;
                if let Some(write) = write {
                    // Last, because the last connection to close folds the write-ahead log into the file.
                    write.close().await;
                }
            }
        }
    }
}

fn connections<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Connections {
    // The two are read one after the other, and another thread may come between them.
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    let used = pool.size().saturating_sub(idle);
    Connections { used: used.into(), idle: idle.into(), max: pool.options().get_max_connections().into() }
}
