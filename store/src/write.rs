//! The write door: a change and its audit event commit together, or neither does.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use scoped_futures::ScopedBoxFuture;
use tracing::Instrument as _;

use crate::{
    audit::{chain::Chain, event::Event, head::Head, head_file::HeadFile},
    clock::{Clock, Timestamp},
    context::AuditContext,
    db::{Connections, Database, ReadConn, Tx},
    error::Error,
    ids::UserId,
    rights::{self, Rights},
};

/// How often a mutation runs when another transaction comes first.
const MAX_TRIES: u32 = 3;

/// The result of a mutation.
pub enum Mutation<T> {
    /// Something changed, and the event records it: both commit, or neither.
    Changed(T, Box<Event>),
    /// Nothing changed: the transaction rolls back and no event is recorded.
    Unchanged(T),
}

impl<T> Mutation<T> {
    /// A change and its event.
    pub fn changed(value: T, event: Event) -> Self {
        Self::Changed(value, Box::new(event))
    }
}

/// The future of a mutation. It borrows the transaction for `'t`, and its caller's values for `'e`.
///
/// Boxed, because the compiler cannot prove that the future of an `AsyncFn` is `Send`.
pub type MutationFuture<'e, 't, T, E> = ScopedBoxFuture<'e, 't, Result<Mutation<T>, E>>;

/// The error of a mutation. The write door runs the mutation again after a lost race.
pub trait MutationError: From<Error> {
    /// The store's own error, if this is one.
    fn store_error(&self) -> Option<&Error>;
}

impl MutationError for Error {
    fn store_error(&self) -> Option<&Error> {
        Some(self)
    }
}

/// An open database with its audit chain. Cheap to clone: every clone shares the pools.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    chain: Chain,
    head_file: HeadFile,
    rights: Arc<Rights>,
    clock: Arc<dyn Clock>,
    is_read_only: bool,
    /// Set once the schema was verified, so that readiness checks it only once.
    is_schema_verified: AtomicBool,
}

impl Store {
    pub(crate) fn new(
        database: Database,
        chain: Chain,
        clock: Arc<dyn Clock>,
        head_file: Option<PathBuf>,
        is_read_only: bool,
    ) -> Self {
        let inner = Inner {
            database,
            chain,
            head_file: HeadFile::new(head_file),
            rights: Arc::default(),
            clock,
            is_read_only,
            is_schema_verified: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The current time of the store's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The pools of connections.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The changes of rights that were committed in this process.
    #[must_use]
    pub fn rights(&self) -> &Arc<Rights> {
        &self.inner.rights
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.inner.chain
    }

    pub(crate) fn head_file(&self) -> &HeadFile {
        &self.inner.head_file
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.inner.is_read_only
    }

    pub(crate) fn is_schema_verified(&self) -> &AtomicBool {
        &self.inner.is_schema_verified
    }

    /// Takes a connection to read from.
    pub async fn reader(&self) -> Result<ReadConn, Error> {
        self.database().reader().await
    }

    /// The number of connections to the database now.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.database().connections()
    }

    /// Closes every connection, after running transactions have ended.
    pub async fn close(&self) {
        self.database().close().await;
    }

    /// Runs a mutation and commits it together with its audit event.
    ///
    /// A caller that is dropped before the commit rolls back both. The commit and its follow-up run
    /// in a task of their own, so a client that disconnects cannot separate them.
    pub async fn write<'e, T: Send + 'static, E: MutationError>(
        &self,
        context: &AuditContext,
        f: impl for<'t> Fn(&'t mut Tx) -> MutationFuture<'e, 't, T, E> + Sync,
    ) -> Result<T, E> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_write(context, &f).await {
                // Another transaction inserted a unique value first: the next run sees it.
                Err(error) if error.store_error().is_some_and(Error::is_race) && tries < MAX_TRIES => {}
                settled => return settled,
            }
        }
    }

    async fn try_write<'e, T: Send + 'static, E: MutationError>(
        &self,
        context: &AuditContext,
        f: &(impl for<'t> Fn(&'t mut Tx) -> MutationFuture<'e, 't, T, E> + Sync),
    ) -> Result<T, E> {
        let mut tx = self.database().begin().await?;
        match f(&mut tx).await? {
            Mutation::Unchanged(value) => Ok(value),
            Mutation::Changed(value, event) => {
                let changed = event.rights_changed();
                for user in &changed {
                    rights::notify(tx.conn(), *user).await?;
                }
                let head = self.chain().append(&mut tx, Chain::entry(*event, context, self.now())).await?;
                self.commit(tx, head, changed).await?;
                Ok(value)
            }
        }
    }

    /// Writes events without a change: all of them commit, or none. At most a few hundred.
    pub(crate) async fn write_events(&self, events: Vec<(Event, AuditContext)>) -> Result<(), Error> {
        debug_assert!(events.iter().all(|(event, _)| event.rights_changed().is_empty()), "rights change with a change");
        let now = self.now();
        let mut tx = self.database().begin().await?;
        let rows = events.into_iter().map(|(event, context)| Chain::entry(event, &context, now)).collect();
        let head = self.chain().append_all(&mut tx, rows).await?;
        self.commit(tx, head, Vec::new()).await
    }

    /// Commits what was appended to the log up to `head`, and reports the users whose rights changed.
    async fn commit(&self, tx: Tx, head: Head, changed: Vec<UserId>) -> Result<(), Error> {
        let (store, guard) = (self.clone(), self.database().task_guard());
        let committing = async move {
            let _until_done = guard;
            let committed = tx.commit_audited().await;
            // Reported after a failure too: the commit may have happened.
            for user in changed {
                store.rights().report(user);
            }
            committed?;
            store.head_file().advance(store.database(), head).await;
            Ok(())
        };
        tokio::spawn(committing.in_current_span()).await.map_err(|_| Error::Stopping)?
    }

    /// Writes to tables that grant nothing, such as usage and times of last use, without an event.
    pub async fn record<'e, T, E: From<Error>>(
        &self,
        f: impl for<'t> FnOnce(&'t mut Tx) -> ScopedBoxFuture<'e, 't, Result<T, E>>,
    ) -> Result<T, E> {
        let mut tx = self.database().begin().await?;
        let value = f(&mut tx).await?;
        tx.commit().await.map_err(Error::from)?;
        Ok(value)
    }
}
