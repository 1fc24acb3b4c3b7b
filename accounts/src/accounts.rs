//! The handle of the rules.

use std::sync::Arc;

use paddock_store::{
    Connections, MutationFuture, ReadConn, Store, Tx, audit::AuditLog, clock::Timestamp, context::AuditContext,
};
use scoped_futures::ScopedBoxFuture;

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

    /// Closes every connection, after running transactions have ended and counted audit events are
    /// written.
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

    /// Runs a mutation and commits it together with its audit event: see [`Store::write`].
    pub(crate) async fn write<'e, T: Send + 'static>(
        &self,
        context: &AuditContext,
        f: impl for<'t> Fn(&'t mut Tx) -> MutationFuture<'e, 't, T, Error> + Sync,
    ) -> Result<T, Error> {
        self.store().write(context, f).await
    }

    /// Writes to tables that grant nothing, without an event: see [`Store::record`].
    pub(crate) async fn record<'e, T>(
        &self,
        f: impl for<'t> FnOnce(&'t mut Tx) -> ScopedBoxFuture<'e, 't, Result<T, Error>>,
    ) -> Result<T, Error> {
        self.store().record(f).await
    }
}
