//! The usage of each request.

mod day;
mod day_totals;
mod in_flight;
pub(crate) mod last_used;
mod multi_row;
mod record;
mod reservation;
mod spool;
mod token_windows;
mod totals;

pub use day::{Day, InvalidDay};
pub use in_flight::UNKNOWN;
use paddock_store::{Conn, clock::Timestamp, ids::uuid_v7, retry_lost_race, with_conn};
pub use record::UsageRecord;
pub use reservation::{ExceededLimit, LimitKind, ReservationLimits};
pub use spool::{Chunk, Damage, Orphan, Spool};
pub use token_windows::{TokenWindow, TokenWindows};
pub use totals::{GroupBy, Totals, UsageColumn, UsageFilter, UsageTotals};
use uuid::Uuid;

use crate::{accounts::Accounts, error::Error};

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    last_used::STATEMENTS
        .iter()
        .chain(in_flight::STATEMENTS)
        .chain(token_windows::STATEMENTS)
        .chain(reservation::STATEMENTS)
}

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
    /// Creates the id of a request at its admission.
    #[must_use]
    pub fn new_id(self) -> Uuid {
        uuid_v7(self.accounts.now())
    }

    /// Stores records, all or none. An existing record is replaced only if it was settled as
    /// `unknown`.
    pub async fn record(self, records: &[UsageRecord]) -> Result<(), Error> {
        let all: Vec<Uuid> = records.iter().map(|record| record.usage_id).collect();
        self.record_and_close(records, &all).await
    }

    /// Stores records as [`Usage::record`] does. `open` are the ids of those that the database may
    /// have in flight.
    pub async fn record_and_close(self, records: &[UsageRecord], open: &[Uuid]) -> Result<(), Error> {
        let rows = record::deduplicate(records);
        if self.record_new(&rows, open).await? {
            return Ok(());
        }
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin_record().await?;
            for rows in rows.chunks(record::INSERT_BATCH) {
                record::insert(&mut tx, rows).await?;
            }
            in_flight::close(&mut tx, open).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Stores records on SQLite that do not exist yet, and adds them to the totals together. Returns
    /// false and stores nothing if one of them exists, or on PostgreSQL.
    async fn record_new(self, rows: &[&UsageRecord], open: &[Uuid]) -> Result<bool, Error> {
        if self.accounts.store().database().is_shared() {
            return Ok(false);
        }
        let mut tx = self.accounts.begin_record().await?;
        let Conn::Sqlite(conn) = tx.conn() else { return Ok(false) };
        if !record::insert_new(conn, rows).await? {
            return Ok(false);
        }
        day_totals::add(conn, rows).await?;
        in_flight::close(&mut tx, open).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Stores the times of last use that were noted since the last call.
    pub async fn store_last_used(self) -> Result<(), Error> {
        let due = self.accounts.last_used().due();
        if due.is_empty() {
            return Ok(());
        }
        let mut tx = self.accounts.begin_record().await?;
        for last_used::Use { credential, key_id, at } in &due {
            let at = Timestamp::from_micros(*at);
            with_conn!(tx.conn(), |c| sqlx::query(last_used::TOUCH)
                .bind(*credential)
                .bind(at)
                .execute(c)
                .await
                .map(|_| ()))?;
            with_conn!(tx.conn(), |c| sqlx::query(last_used::TOUCH_SECRET)
                .bind(key_id)
                .bind(at)
                .execute(c)
                .await
                .map(|_| ()))?;
        }
        tx.commit().await?;
        self.accounts.last_used().set_stored(&due, self.accounts.now());
        Ok(())
    }
}
