//! Proves that the log is whole.

use super::{AuditRow, chain::CHAIN_VERSION};
use crate::{
    Accounts,
    error::Error,
    store::{on, statements},
};

statements! {
    PAGE = "SELECT * FROM audit_logs WHERE id > $1 ORDER BY id LIMIT 1000";
    HEAD = "SELECT position, hash FROM audit_head";
}

/// A log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many rows there are.
    pub rows: i64,
    /// The hash of the last one; empty in an empty log.
    pub head: String,
}

/// The first place where the log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A row is not there.
    #[error("row {0} is missing")]
    Missing(i64),
    /// A row's content is not what was sealed, or it was sealed with another key.
    #[error("row {0} is not what was written, or AUDIT_SIGNING_KEY is not the key it was written under")]
    Changed(i64),
    /// A row does not follow the one before it.
    #[error("row {0} does not follow the row before it")]
    Unlinked(i64),
    /// The log ends elsewhere than its head says.
    #[error("the log ends at row {found}, its head says {expected}")]
    Cut {
        /// The last row there is.
        found: i64,
        /// The last row there was.
        expected: i64,
    },
    /// A row was sealed in a way this version does not know.
    #[error("row {0} has chain version {1}: verify with a newer paddock")]
    Unknown(i64, i64),
}

impl Accounts {
    /// Reads the whole log, a thousand rows at a time, and checks each row's seal, its link to the one before, and the
    /// end. `progress` hears the number of rows checked so far.
    pub async fn verify_audit(&self, mut progress: impl FnMut(i64)) -> Result<Result<Verified, Broken>, Error> {
        let mut end = Verified { rows: 0, head: String::new() };
        // From the smallest number there is: a row may have been put in before the first.
        let mut after = i64::MIN;
        let mut head_beyond = None;
        loop {
            let page: Vec<AuditRow> =
                on!(self.reader().await?.conn(), |c| sqlx::query_as(PAGE).bind(after).fetch_all(c).await?);
            for row in &page {
                if let Err(broken) = self.check(row, &end) {
                    return Ok(Err(broken));
                }
                end = Verified { rows: row.id, head: row.hash.clone() };
                after = row.id;
            }
            if !page.is_empty() {
                progress(end.rows);
                continue;
            }
            // The head after the rows, so that it is never behind them.
            let (position, sealed): (i64, String) =
                on!(self.reader().await?.conn(), |c| sqlx::query_as(HEAD).fetch_one(c).await?);
            if position == end.rows && sealed == end.head {
                return Ok(Ok(end));
            }
            // A row that came between the two looks is read now; one that is not there then is missing.
            if position <= end.rows || head_beyond == Some(end.rows) {
                return Ok(Err(Broken::Cut { found: end.rows, expected: position }));
            }
            head_beyond = Some(end.rows);
        }
    }

    fn check(&self, row: &AuditRow, before: &Verified) -> Result<(), Broken> {
        if row.id <= before.rows {
            return Err(Broken::Unlinked(row.id));
        }
        if row.id != before.rows + 1 {
            return Err(Broken::Missing(before.rows + 1));
        }
        if row.chain_version != CHAIN_VERSION {
            return Err(Broken::Unknown(row.id, row.chain_version));
        }
        if self.chain().hash(row) != row.hash {
            return Err(Broken::Changed(row.id));
        }
        if row.prev_hash != before.head {
            return Err(Broken::Unlinked(row.id));
        }
        Ok(())
    }
}
