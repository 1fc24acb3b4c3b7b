//! The handle of the rules.

use std::sync::Arc;

use paddock_store::{
    Connections, DatabaseIdentity, ReadConn, RecordTx, Store, Tx, audit::AuditLog, clock::Timestamp,
    context::AuditContext,
};

use crate::{
    cache::CredentialCache, error::Error, hasher::Hasher, passwords::policy::PasswordPolicy, sessions::jwt::SessionKey,
    usage::last_used::LastUsed,
};

/// The rules over an open database. Cheap to clone: every clone shares the pools.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    audit: AuditLog,
    cache: CredentialCache,
    session_key: SessionKey,
    password_policy: PasswordPolicy,
    hasher: Hasher,
    last_used: LastUsed,
}

impl Accounts {
    pub(crate) fn new(store: Store, audit: AuditLog, session_key: SessionKey, password_policy: PasswordPolicy) -> Self {
        let cache = CredentialCache::new(store.rights().clone());
        let (hasher, last_used) = (Hasher::new(), LastUsed::default());
        Self { inner: Arc::new(Inner { store, audit, cache, session_key, password_policy, hasher, last_used }) }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.store().now()
    }

    /// The number of connections to the database now.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.store().connections()
    }

    /// Reads the identity of the database.
    pub async fn database_identity(&self) -> Result<DatabaseIdentity, Error> {
        Ok(self.store().identity().await?)
    }

    /// Closes every connection, after running transactions have ended and the aggregated audit
    /// events are written.
    pub async fn close(&self) {
        self.audit().finish().await;
        self.store().close().await;
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.inner.audit
    }

    pub(crate) fn cache(&self) -> &CredentialCache {
        &self.inner.cache
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    pub(crate) fn password_policy(&self) -> PasswordPolicy {
        self.inner.password_policy
    }

    pub(crate) fn session_key(&self) -> &SessionKey {
        &self.inner.session_key
    }

    pub(crate) fn last_used(&self) -> &LastUsed {
        &self.inner.last_used
    }

    /// Takes a connection to read from.
    pub(crate) async fn reader(&self) -> Result<ReadConn, Error> {
        Ok(self.store().reader().await?)
    }

    /// Begins an audited transaction, which commits together with its event: see [`Store::begin`].
    pub(crate) async fn begin(&self, context: &AuditContext) -> Result<Tx, Error> {
        Ok(self.store().begin(context).await?)
    }

    /// Begins a transaction on tables that grant nothing: see [`Store::begin_record`].
    pub(crate) async fn begin_record(&self) -> Result<RecordTx, Error> {
        Ok(self.store().begin_record().await?)
    }
}
