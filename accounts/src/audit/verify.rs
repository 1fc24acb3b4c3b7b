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
        // The head first: rows that come while we read are beyond it and are checked like the rest.
        let (position, sealed): (i64, String) =
            on!(self.reader().await?.conn(), |c| sqlx::query_as(HEAD).fetch_one(c).await?);
        let mut end = Verified { rows: 0, head: String::new() };
        let mut head_seen = position == 0 && sealed.is_empty();
        loop {
            let page: Vec<AuditRow> =
                on!(self.reader().await?.conn(), |c| sqlx::query_as(PAGE).bind(end.rows).fetch_all(c).await?);
            if page.is_empty() {
                break;
            }
            for row in page {
                if let Err(broken) = self.check(&row, &end) {
                    return Ok(Err(broken));
                }
                end = Verified { rows: row.id, head: row.hash };
                if end.rows == position {
                    head_seen = end.head == sealed;
                }
            }
            progress(end.rows);
        }
        if end.rows < position || !head_seen {
            return Ok(Err(Broken::Cut { found: end.rows, expected: position }));
        }
        Ok(Ok(end))
    }

    fn check(&self, row: &AuditRow, before: &Verified) -> Result<(), Broken> {
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
