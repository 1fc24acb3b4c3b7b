//! Opens a database and checks its readiness.

use std::sync::Arc;

use paddock_store::{
    OpenError, OpenOptions, Store,
    audit::{AuditLog, Chain},
    clock::Clock,
};

use crate::{accounts::Accounts, passwords::PasswordPolicy, sessions::SessionKey};

impl Accounts {
    /// Opens a database. Fails if its schema is outdated or does not match. Accepts a PostgreSQL
    /// that is unavailable: until it answers, every operation fails with
    /// [`Unavailable`](paddock_store::Error::Unavailable), and so does [`Accounts::ready`].
    pub async fn open(
        options: &OpenOptions,
        chain: Chain,
        sessions: SessionKey,
        passwords: PasswordPolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let accounts = Self::connect(options, chain, sessions, passwords, clock).await?;
        match accounts.check(options).await {
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the database is unavailable; waiting for it");
            }
            checked => checked?,
        }
        Ok(accounts)
    }

    /// Opens a database. Also fails if the database is unavailable.
    pub async fn open_now(
        options: &OpenOptions,
        chain: Chain,
        sessions: SessionKey,
        passwords: PasswordPolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let accounts = Self::connect(options, chain, sessions, passwords, clock).await?;
        accounts.check(options).await?;
        Ok(accounts)
    }

    /// Checks that the database answers and has the schema of this executable. Unless opened
    /// read-only, it must also accept writes, and its audit log must be sealed with the configured
    /// key.
    pub async fn ready(&self) -> Result<(), OpenError> {
        self.store().ready(crate::statements()).await
    }

    async fn connect(
        options: &OpenOptions,
        chain: Chain,
        sessions: SessionKey,
        passwords: PasswordPolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let store = Store::open(options, chain, clock).await?;
        let audit = AuditLog::new(store.clone(), options.audit_retention_days);
        Ok(Self::new(store, audit, sessions, passwords))
    }

    /// Checks readiness. An error names the cause and the setting to check.
    async fn check(&self, options: &OpenOptions) -> Result<(), OpenError> {
        match self.ready().await {
            Err(error) => Err(options.explain(error).await),
            Ok(()) => Ok(()),
        }
    }
}
