//! The database: one store over two engines, with two doors.
//!
//! Each statement stands once and is sent to whichever engine serves: `$1` works on both. [`Store::write`] is the door for
//! everything that grants, takes or changes; it cannot commit without an audit event. [`Store::record`] is the door for a
//! closed list of tables that grant nothing.

mod codec;
mod open;

use std::{
    ops::{AsyncFn, AsyncFnOnce},
    sync::Arc,
};

pub use open::{OpenError, OpenOptions, migrate};
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::{
    audit::{Chain, Event},
    clock::Clock,
    context::Context,
    error::Error,
};

/// The pools of one engine. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Store {
    Pg(PgPool),
    Sqlite {
        /// Any number of connections, read-only.
        read: SqlitePool,
        /// One connection, on which all writes queue: SQLite has one writer, and waiting here is fair and fast where
        /// waiting for its lock is neither. `None` when opened only to read.
        write: Option<SqlitePool>,
        /// Held for as long as the store is, so that one process serves the file.
        _lock: Option<Arc<std::fs::File>>,
    },
}

/// A connection of either engine, lent to one statement.
pub(crate) enum Conn<'c> {
    Pg(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

/// A transaction of either engine; dropped, it rolls back.
pub(crate) enum Tx {
    Pg(Transaction<'static, Postgres>),
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
        $($(#[$doc])* const $name: &str = $sql;)+
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}
pub(crate) use statements;

/// How often a mutation that lost a race is run.
const MAX_TRIES: u32 = 3;

/// What a mutation came to.
pub(crate) enum Outcome<T> {
    /// Something changed, and this is the event that says so: both commit, or neither.
    Changed(T, Box<Event>),
    /// Nothing changed: the transaction rolls back and leaves no event.
    Unchanged(T),
}

impl<T> Outcome<T> {
    pub(crate) fn changed(value: T, event: Event) -> Result<Self, Error> {
        Ok(Self::Changed(value, Box::new(event)))
    }
}

impl Tx {
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Pg(tx) => Conn::Pg(&mut *tx),
            Self::Sqlite(tx) => Conn::Sqlite(&mut *tx),
        }
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Pg(tx) => tx.commit().await,
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
    /// Runs a read on one connection.
    pub(crate) async fn read<T>(&self, f: impl AsyncFnOnce(Conn<'_>) -> Result<T, Error>) -> Result<T, Error> {
        match self {
            Self::Pg(pool) => {
                let mut conn = pool.acquire().await?;
                f(Conn::Pg(&mut conn)).await
            }
            Self::Sqlite { read, .. } => {
                let mut conn = read.acquire().await?;
                f(Conn::Sqlite(&mut conn)).await
            }
        }
    }

    /// The first door: runs a mutation and commits it together with its audit event.
    ///
    /// A caller that is dropped before `f` ends rolls back. From then on event and commit run in a task of their own, so
    /// that a client that leaves cannot come between them.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        chain: &Chain,
        clock: &Arc<dyn Clock>,
        context: &Context,
        f: impl AsyncFn(&mut Tx) -> Result<Outcome<T>, Error>,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_write(chain, clock, context, &f).await {
                // Someone else was first with a unique value: run again, and see it.
                Err(error) if error.is_race() && tries < MAX_TRIES => {}
                settled => return settled,
            }
        }
    }

    async fn try_write<T: Send + 'static>(
        &self,
        chain: &Chain,
        clock: &Arc<dyn Clock>,
        context: &Context,
        f: &impl AsyncFn(&mut Tx) -> Result<Outcome<T>, Error>,
    ) -> Result<T, Error> {
        let mut tx = self.begin().await?;
        match f(&mut tx).await? {
            Outcome::Unchanged(value) => Ok(value),
            Outcome::Changed(value, event) => {
                let entry = chain.entry(*event, context, clock.now());
                let chain = chain.clone();
                tokio::spawn(async move {
                    chain.append(&mut tx, entry).await?;
                    tx.commit().await.map_err(Error::audit)?;
                    Ok(value)
                })
                .await
                .map_err(|_| Error::Stopping)?
            }
        }
    }

    /// The second door: for usage and times of last use, which grant nothing and leave no event.
    pub(crate) async fn record<T>(&self, f: impl AsyncFnOnce(&mut Tx) -> Result<T, Error>) -> Result<T, Error> {
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

    /// Ends every connection, after those that are lent have come back.
    pub(crate) async fn close(&self) {
        match self {
            Self::Pg(pool) => pool.close().await,
            Self::Sqlite { read, write, .. } => {
                read.close().await;
                if let Some(write) = write {
                    // Last, because the last connection to close folds the write-ahead log into the file.
                    write.close().await;
                }
            }
        }
    }
}
