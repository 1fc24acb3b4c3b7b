//! The write door: the two kinds of transaction that change the database.
//!
//! [`Store::begin`] begins an audited transaction, [`Tx`]. It is a unit of work:
//!
//! - **No change without an event.** [`Tx::commit`] consumes the transaction and needs its event.
//!   There is no other way to commit. The event is appended to the hash chain in the same
//!   transaction, so both commit, or neither does.
//! - **A dropped transaction changes nothing.** An error, an early return or a dropped caller rolls
//!   the changes back, and no event is recorded.
//! - **A confirmation is durable.** An operation that finds nothing to change ends its transaction with
//!   [`Tx::end_unchanged`] before it returns, because a change is visible shortly before it is on the
//!   disk.
//! - **A commit is complete.** The commit, the eviction of cached rights and the head file run in a
//!   task of their own, and [`Store::close`] waits for this task. A client that disconnects cannot
//!   separate them.
//! - **A failure is reported as it is.** [`Error::InDoubt`] says that the commit may have happened.
//!   After every other error nothing was changed.
//!
//! [`Store::begin_record`] begins a transaction without an event, [`RecordTx`]. It is for tables
//! that grant nothing: usage, requests in flight, times of last use, sign-in attempts, the progress
//! of pulls, and the clean-up of expired rows.
//!
//! [`retry_lost_race`](crate::retry_lost_race) repeats an operation that lost a race.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use tracing::Instrument as _;

use crate::{
    audit::{chain::Chain, event::Event, head::Head, head_file::HeadFile},
    clock::{Clock, Timestamp},
    context::{Actor, AuditContext},
    db::{Conn, Connections, Database, Lockable, ReadConn, Transaction},
    error::Error,
    ids::UserId,
    rights::{self, Rights},
};

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

    /// Begins an audited transaction. Its event records the actor and the client of the context.
    pub async fn begin(&self, context: &AuditContext) -> Result<Tx, Error> {
        let transaction = self.database().begin().await?;
        Ok(Tx { store: self.clone(), context: context.clone(), transaction })
    }

    /// Begins a transaction without an event, for tables that grant nothing.
    pub async fn begin_record(&self) -> Result<RecordTx, Error> {
        Ok(RecordTx(self.database().begin().await?))
    }

    /// Writes events without a change: all of them commit, or none. At most a few hundred.
    pub(crate) async fn write_events(&self, events: Vec<(Event, AuditContext)>) -> Result<(), Error> {
        debug_assert!(
            events.iter().all(|(event, _)| event.rights_changed().is_empty()),
            "an event without a change cannot change rights"
        );
        let now = self.now();
        let mut transaction = self.database().begin().await?;
        let rows = events.into_iter().map(|(event, context)| Chain::entry(event, &context, now)).collect();
        let head = self.chain().append_all(&mut transaction, rows).await?;
        self.commit(transaction, head, Vec::new(), false).await
    }

    /// Commits a transaction whose events reach up to `head`, and reports the users whose rights
    /// changed. Continues if the caller is dropped.
    async fn commit(
        &self,
        transaction: Transaction,
        head: Head,
        changed: Vec<UserId>,
        is_by_operator: bool,
    ) -> Result<(), Error> {
        let (store, guard) = (self.clone(), self.database().task_guard());
        let committing = async move {
            let _until_done = guard;
            let committed = transaction.commit_audited().await;
            // Reported after a failure too: the commit may have happened.
            for user in changed {
                store.rights().report(user);
                if !is_by_operator {
                    store.rights().report_to_operator(user);
                }
            }
            committed?;
            store.head_file().advance(store.database(), head).await;
            Ok(())
        };
        tokio::spawn(committing.in_current_span()).await.map_err(|_| Error::Stopping)?
    }
}

/// An audited transaction, which commits together with its event. It rolls back on drop.
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Tx {
    store: Store,
    context: AuditContext,
    transaction: Transaction,
}

impl Tx {
    /// The connection, for one statement.
    pub fn conn(&mut self) -> Conn<'_> {
        self.transaction.conn()
    }

    /// Locks a row until the transaction ends, so that the next read sees what the write changes.
    /// Does nothing on SQLite, which has one writer.
    pub async fn lock(&mut self, table: Lockable, id: i64) -> Result<(), Error> {
        self.transaction.lock(table, id).await
    }

    /// Ends the transaction of a caller that found nothing to change. Nothing is written, and no event
    /// is recorded. What the caller found is on the disk afterwards, so it may be confirmed.
    pub async fn end_unchanged(self) -> Result<(), Error> {
        self.transaction.end_unchanged().await
    }

    /// Commits the changes together with their event.
    ///
    /// Notifies the other processes, as a part of the transaction, of the users whose rights
    /// changed. After the commit it reports these users in this process, and advances the head
    /// file.
    ///
    /// Fails with [`Error::Audit`] if the event cannot be appended, and with [`Error::InDoubt`] if
    /// the connection breaks during the commit.
    pub async fn commit(self, event: Event) -> Result<(), Error> {
        let Self { store, context, mut transaction } = self;
        let changed = event.rights_changed();
        let is_by_operator = matches!(context.actor, Actor::Operator { .. });
        for user in &changed {
            rights::notify(transaction.conn(), *user, is_by_operator).await?;
        }
        let row = Chain::entry(event, &context, store.now());
        let head = store.chain().append(&mut transaction, row).await?;
        store.commit(transaction, head, changed, is_by_operator).await
    }
}

/// A transaction on tables that grant nothing, without an event. It rolls back on drop.
#[must_use = "a transaction that is not committed changes nothing"]
pub struct RecordTx(Transaction);

impl RecordTx {
    /// The connection, for one statement.
    pub fn conn(&mut self) -> Conn<'_> {
        self.0.conn()
    }

    /// Commits the changes.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}
