//! The usage of each request.

mod day;
mod in_flight;
pub(crate) mod last_used;
mod record;
mod spool;
mod totals;

pub use day::{Day, InvalidDay};
pub use in_flight::UNKNOWN;
use paddock_store::{MutationError as _, clock::Timestamp, ids::uuid_v7, with_conn};
pub use record::UsageRecord;
use scoped_futures::ScopedFutureExt;
pub use spool::{Chunk, Damage, Orphan, Spool};
pub use totals::{GroupBy, Totals, UsageFilter, UsageTotals};
use uuid::Uuid;

use crate::{accounts::Accounts, error::Error};

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    last_used::STATEMENTS.iter().chain(in_flight::STATEMENTS)
}

/// How often records are stored again after a lost race between writers.
const MAX_TRIES: u32 = 3;

/// The operations on usage.
#[derive(Clone, Copy)]
pub struct Usage<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on usage.
    #[must_use]
    pub fn usage(&self) -> Usage<'_> {
        Usage { accounts: self }
    }
}

impl Usage<'_> {
    /// A new id for a request, to be created at its admission.
    #[must_use]
    pub fn new_id(self) -> Uuid {
        uuid_v7(self.accounts.now())
    }

    /// Stores records, all or none. A record that is stored already stays as it is, unless it was settled as
    /// `unknown`: then it is replaced.
    pub async fn record(self, records: &[UsageRecord]) -> Result<(), Error> {
        let rows = record::deduplicate(records);
        let mut tries = 0;
        loop {
            tries += 1;
            let stored = self.accounts.record(|tx| {
                let rows = &rows;
                async move {
                    for rows in rows.chunks(record::INSERT_BATCH) {
                        record::insert(tx, rows).await?;
                        in_flight::close(tx, rows).await?;
                    }
                    Ok(())
                }
                .scope_boxed()
            });
            match stored.await {
                Err(error) if error.store_error().is_some_and(paddock_store::Error::is_race) && tries < MAX_TRIES => {}
                settled => return settled,
            }
        }
    }

    /// Stores when keys were last used, as far as that was noted since the last call.
    pub async fn store_last_used(self) -> Result<(), Error> {
        let due = self.accounts.last_used().due();
        if due.is_empty() {
            return Ok(());
        }
        self.accounts
            .record(|tx| {
                let due = &due;
                async move {
                    for (id, used) in due {
                        let at = Timestamp::from_micros(*used);
                        with_conn!(tx.conn(), |c| sqlx::query(last_used::TOUCH)
                            .bind(*id)
                            .bind(at)
                            .execute(c)
                            .await
                            .map(|_| ()))?;
                    }
                    Ok(())
                }
                .scope_boxed()
            })
            .await?;
        self.accounts.last_used().set_stored(&due, self.accounts.now());
        Ok(())
    }
}
