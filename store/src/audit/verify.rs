//! Verification that the audit log is complete and unchanged.

use super::{
    anchor::{self, Anchor},
    handle::AuditLog,
    head::Head,
    row::{AuditRow, columns},
    verify_error::VerifyError,
};
use crate::{db::Conn, error::Error, statements, with_conn};

statements! {
    PAGE = concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > $1 ORDER BY id LIMIT 1000");
    HEAD = "SELECT position, hash FROM audit_head";
}

/// The result for a complete and unchanged log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of rows.
    pub rows: i64,
    /// The number of rows that retention removed.
    pub trimmed: i64,
    /// The hash of the last row; empty for an empty log.
    pub head: String,
    /// The number of rows after the newest known head; `None` without known heads.
    pub beyond: Option<i64>,
    /// The sources of known heads whose rows retention removed, so they could not be compared.
    pub outlived: Vec<String>,
}

/// An earlier head of the log that was saved outside the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHead {
    /// Where the head was saved.
    pub source: String,
    /// The saved head.
    pub head: Head,
}

/// Loads the head from `audit_head`.
pub(super) async fn load_head(conn: Conn<'_>) -> Result<Option<Head>, Error> {
    let head: Option<(i64, String)> = with_conn!(conn, |c| sqlx::query_as(HEAD).fetch_optional(c).await?);
    Ok(head.map(|(position, hash)| Head { position, hash }))
}

impl AuditLog {
    /// Reads the whole log in pages of 1,000 rows. Checks the seal of each row, its link to the
    /// previous row, and the head. Also checks that the log contains each known head, which detects
    /// removed rows that `audit_head` hides. `progress` gets the number of checked rows.
    pub async fn verify(
        &self,
        heads: &[KnownHead],
        mut progress: impl FnMut(i64),
    ) -> Result<Result<Verified, VerifyError>, Error> {
        let mut anchor = anchor::load(self.store().reader().await?.conn()).await?;
        loop {
            let result = self.verify_from(anchor.as_ref(), heads, &mut progress).await?;
            let current = anchor::load(self.store().reader().await?.conn()).await?;
            // If the checkpoint moved, retention may have removed the missing rows during the
            // check.
            if result.is_ok() || current == anchor {
                return Ok(result);
            }
            anchor = current;
        }
    }

    async fn verify_from(
        &self,
        anchor: Option<&Anchor>,
        heads: &[KnownHead],
        progress: &mut impl FnMut(i64),
    ) -> Result<Result<Verified, VerifyError>, Error> {
        let Some(begin) = anchor.and_then(|anchor| anchor.verify(self.store().chain())) else {
            return Ok(Err(VerifyError::Anchor));
        };
        if let Err(broken) = compare(heads, begin) {
            return Ok(Err(broken));
        }
        let mut end = begin.clone();
        // From the smallest id: a row may have been inserted before the first one.
        let mut after = i64::MIN;
        let mut head_beyond = None;
        loop {
            let page = match self.chain_page(after).await? {
                Ok(page) => page,
                Err(broken) => return Ok(Err(broken)),
            };
            for row in &page {
                match self.store().chain().follow(row, &end).and_then(|next| compare(heads, &next).map(|()| next)) {
                    Ok(next) => end = next,
                    Err(broken) => return Ok(Err(broken)),
                }
                after = row.id;
            }
            if !page.is_empty() {
                progress(end.position - begin.position);
                continue;
            }
            // Read the head after the rows, so that it cannot be behind them.
            let Some(head) = load_head(self.store().reader().await?.conn()).await? else {
                return Ok(Err(VerifyError::Headless));
            };
            if head == end {
                return Ok(conclude(begin, end, heads));
            }
            // The next page contains the rows that were appended meanwhile. If it does not, they
            // are missing.
            if head.position <= end.position || head_beyond == Some(end.position) {
                return Ok(Err(VerifyError::Cut { found: end.position, expected: head.position }));
            }
            head_beyond = Some(end.position);
        }
    }

    pub(super) async fn chain_page(&self, after: i64) -> Result<Result<Vec<AuditRow>, VerifyError>, Error> {
        let mut reader = self.store().reader().await?;
        match with_conn!(reader.conn(), |c| sqlx::query_as(PAGE).bind(after).fetch_all(c).await) {
            Err(sqlx::Error::ColumnDecode { .. }) => Ok(Err(VerifyError::Unreadable(after.max(0)))),
            page => Ok(Ok(page?)),
        }
    }
}

/// Checks a row against the known heads of the same position.
fn compare(heads: &[KnownHead], row: &Head) -> Result<(), VerifyError> {
    match heads.iter().find(|known| known.head.position == row.position && known.head.hash != row.hash) {
        Some(known) => Err(VerifyError::Rewritten { position: row.position, source_name: known.source.clone() }),
        None => Ok(()),
    }
}

/// Builds the result of a consistent log. Fails if the log ends before the newest known head.
fn conclude(begin: &Head, end: Head, heads: &[KnownHead]) -> Result<Verified, VerifyError> {
    let newest = heads.iter().max_by_key(|known| known.head.position);
    if let Some(known) = newest.filter(|known| known.head.position > end.position) {
        let (found, expected) = (end.position, known.head.position);
        return Err(VerifyError::CutBefore { found, expected, source_name: known.source.clone() });
    }
    let outlived = heads.iter().filter(|known| known.head.position < begin.position);
    Ok(Verified {
        rows: end.position - begin.position,
        trimmed: begin.position,
        beyond: newest.map(|known| end.position - known.head.position.max(begin.position)),
        outlived: outlived.map(|known| known.source.clone()).collect(),
        head: end.hash,
    })
}
