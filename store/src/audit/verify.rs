//! Verifies that the audit log is complete and unchanged.

use super::{
    anchor::{self, Anchor},
    head::Head,
    log::AuditLog,
    row::{AuditRow, columns},
    verify_error::VerifyError,
};
use crate::{db::Conn, error::Error, statements, with_conn};

statements! {
    PAGE = concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > $1 ORDER BY id LIMIT 1000");
    HEAD = "SELECT position, hash FROM audit_head";
}

/// A log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many rows there are.
    pub rows: i64,
    /// How many were before them, and were removed when their time was over.
    pub trimmed: i64,
    /// The hash of the last one; empty in an empty log.
    pub head: String,
    /// How many rows came after the newest of the heads that were known; none were: `None`.
    pub beyond: Option<i64>,
    /// The heads that could not be compared, because their rows were removed when their time was over.
    pub outlived: Vec<String>,
}

/// The end of the log as it once was, kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHead {
    /// Where it was kept.
    pub source: String,
    /// What it says.
    pub head: Head,
}

/// Loads the head of the log, as the database has it.
pub(super) async fn load_head(conn: Conn<'_>) -> Result<Option<Head>, Error> {
    let head: Option<(i64, String)> = with_conn!(conn, |c| sqlx::query_as(HEAD).fetch_optional(c).await?);
    Ok(head.map(|(position, hash)| Head { position, hash }))
}

impl AuditLog {
    /// Reads the whole log, 1,000 rows at a time, and checks the seal of each row, its link to the row
    /// before it, and the head. Also checks that the log holds each of the known heads: that finds a
    /// cut which the database's own head hides. `progress` gets the number of checked rows.
    pub async fn verify(
        &self,
        heads: &[KnownHead],
        mut progress: impl FnMut(i64),
    ) -> Result<Result<Verified, VerifyError>, Error> {
        let mut anchor = anchor::load(self.store().reader().await?.conn()).await?;
        loop {
            let verdict = self.verify_from(anchor.as_ref(), heads, &mut progress).await?;
            let present = anchor::load(self.store().reader().await?.conn()).await?;
            // Retention may have removed the missing rows meanwhile: then the anchor has moved.
            if verdict.is_ok() || present == anchor {
                return Ok(verdict);
            }
            anchor = present;
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
        // From the smallest number there is: a row may have been put in before the first.
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
            // The head after the rows, so that it is never behind them.
            let Some(head) = load_head(self.store().reader().await?.conn()).await? else {
                return Ok(Err(VerifyError::Headless));
            };
            if head == end {
                return Ok(conclude(begin, end, heads));
            }
            // A row that came between the two looks is read now; one that is not there then is missing.
            if head.position <= end.position || head_beyond == Some(end.position) {
                return Ok(Err(VerifyError::Cut { found: end.position, expected: head.position }));
            }
            head_beyond = Some(end.position);
        }
    }

    async fn chain_page(&self, after: i64) -> Result<Result<Vec<AuditRow>, VerifyError>, Error> {
        let mut reader = self.store().reader().await?;
        match with_conn!(reader.conn(), |c| sqlx::query_as(PAGE).bind(after).fetch_all(c).await) {
            Err(sqlx::Error::ColumnDecode { .. }) => Ok(Err(VerifyError::Unreadable(after.max(0)))),
            page => Ok(Ok(page?)),
        }
    }
}

/// Whether what is known elsewhere of this row agrees.
fn compare(heads: &[KnownHead], row: &Head) -> Result<(), VerifyError> {
    match heads.iter().find(|known| known.head.position == row.position && known.head.hash != row.hash) {
        Some(known) => Err(VerifyError::Rewritten { position: row.position, source_name: known.source.clone() }),
        None => Ok(()),
    }
}

/// The log is whole in itself: does it reach as far as is known elsewhere?
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
