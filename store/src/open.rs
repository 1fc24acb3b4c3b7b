//! Opening a store, and its readiness.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    audit::chain::Chain,
    clock::Clock,
    db::{Database, OpenError, OpenOptions, Schema},
    write::Store,
};

impl Store {
    /// Opens a database without looking at its contents. [`Store::ready`] does that.
    pub async fn open(options: &OpenOptions, chain: Chain, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let head_file = options.audit_head_file.clone().filter(|_| !options.read_only);
        let database = Database::open(options).await?;
        Ok(Self::new(database, chain, clock, head_file, options.read_only))
    }

    /// Checks that the database answers and understands these statements. Unless it is open
    /// read-only, it must also accept writes, and its audit log must be sealed under our key.
    pub async fn ready(
        &self,
        statements: impl Iterator<Item = &'static (&'static str, &'static str)>,
    ) -> Result<(), OpenError> {
        let database = self.database();
        database.ping().await?;
        if !self.is_schema_verified().load(Ordering::Acquire) {
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
