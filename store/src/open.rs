//! Opening a store, and its readiness.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    audit::chain::Chain,
    clock::Clock,
    db::{Database, OpenError, OpenOptions, Schema},
    write::Store,
};

impl Store {
    /// Opens a database without checking its schema. [`Store::ready`] does that.
    pub async fn open(options: &OpenOptions, chain: Chain, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let head_file = options.audit_head_file.clone().filter(|_| !options.read_only);
        let database = Database::open(options).await?;
        Ok(Self::new(database, chain, clock, head_file, options.read_only))
    }

    /// Checks that the database answers, keeps its sessions and can prepare these statements. Unless the store is
    /// read-only, the database must also accept writes, and its audit log must be sealed with the
    /// configured key.
    pub async fn ready(
        &self,
        statements: impl Iterator<Item = &'static (&'static str, &'static str)>,
    ) -> Result<(), OpenError> {
        let database = self.database();
        let is_verified = self.is_schema_verified().load(Ordering::Acquire);
        if !is_verified {
            // First, because such a pooler makes any other statement fail by chance.
            database.check_sessions().await?;
        }
        database.ping().await?;
        if !is_verified {
            if let Schema::Behind(by) = database.schema().await? {
                return Err(OpenError::Behind { by });
            }
            database.prepare_all(statements).await?;
            self.is_schema_verified().store(true, Ordering::Release);
        }
        if self.is_read_only() {
            return Ok(());
        }
        database.check_writable().await?;
        if !self.chain().is_key_verified() {
            self.chain().verify_signing_key(self.reader().await?.conn()).await?;
        }
        Ok(())
    }
}
