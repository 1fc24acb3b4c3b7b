//! Proves that the log is whole.

use super::{
    AuditRow, Head, columns,
    retention::{self, Anchor},
};
use crate::{
    Accounts,
    error::Error,
    store::{Conn, on, statements},
};

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
    /// A row holds something that no such column holds.
    #[error("a row after row {0} cannot be read: it is not what was written")]
    Unreadable(i64),
    /// The log ends elsewhere than its head says.
    #[error("the log ends at row {found}, its head says {expected}")]
    Cut {
        /// The last row there is.
        found: i64,
        /// The last row there was.
        expected: i64,
    },
    /// The log ends before a head that was kept elsewhere.
    #[error(
        "the log ends at row {found}, {source_name} names row {expected}: the newest rows are gone, or the database was restored from a backup since; if it was, move {source_name} away, as the proof"
    )]
    CutBefore {
        /// The last row there is.
        found: i64,
        /// A row there was.
        expected: i64,
        /// Where that is known from.
        source_name: String,
    },
    /// A row is another one than a head that was kept elsewhere says.
    #[error(
        "row {position} is not the row that {source_name} names: the log was written anew, went on from a restored backup, or is another one"
    )]
    Rewritten {
        /// The row.
        position: i64,
        /// Where it is known from.
        source_name: String,
    },
    /// The database does not say where the log ends.
    #[error("the row of audit_head is missing")]
    Headless,
    /// Where the log begins is not what retention said.
    #[error("audit_anchor is not what retention wrote, or AUDIT_SIGNING_KEY is not the key it was written under")]
    Anchor,
    /// A row was sealed in a way this version does not know.
    #[error("row {0} has chain version {1}: verify with a newer paddock")]
    Unknown(i64, i64),
}

/// Where the database says that the log ends.
pub(super) async fn head(conn: Conn<'_>) -> Result<Option<Head>, Error> {
    let head: Option<(i64, String)> = on!(conn, |c| sqlx::query_as(HEAD).fetch_optional(c).await?);
    Ok(head.map(|(position, hash)| Head { position, hash }))
}

impl Accounts {
    /// Reads the whole log, a thousand rows at a time, and checks each row's seal, its link to the one before, and the
    /// end. `progress` hears the number of rows checked so far.
    pub async fn verify_audit(&self, progress: impl FnMut(i64)) -> Result<Result<Verified, Broken>, Error> {
        self.verify_audit_against(&[], progress).await
    }

    /// The same, and that the log still has each of these heads: so that also a cut is found that takes the database's
    /// own word of its end along.
    pub async fn verify_audit_against(
        &self,
        heads: &[KnownHead],
        mut progress: impl FnMut(i64),
    ) -> Result<Result<Verified, Broken>, Error> {
        let mut anchor = retention::anchor(self.reader().await?.conn()).await?;
        loop {
            let verdict = self.verify_from(anchor.as_ref(), heads, &mut progress).await?;
            let present = retention::anchor(self.reader().await?.conn()).await?;
            // What was missing may have been removed in the meantime: then the log begins elsewhere.
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
    ) -> Result<Result<Verified, Broken>, Error> {
        let Some(begin) = anchor.and_then(|anchor| anchor.sealed_by(self.chain())) else {
            return Ok(Err(Broken::Anchor));
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
                match self.chain().follow(row, &end).and_then(|next| compare(heads, &next).map(|()| next)) {
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
            let Some(head) = head(self.reader().await?.conn()).await? else { return Ok(Err(Broken::Headless)) };
            if head == end {
                return Ok(conclude(begin, end, heads));
            }
            // A row that came between the two looks is read now; one that is not there then is missing.
            if head.position <= end.position || head_beyond == Some(end.position) {
                return Ok(Err(Broken::Cut { found: end.position, expected: head.position }));
            }
            head_beyond = Some(end.position);
        }
    }

    async fn chain_page(&self, after: i64) -> Result<Result<Vec<AuditRow>, Broken>, Error> {
        let mut reader = self.reader().await?;
        match on!(reader.conn(), |c| sqlx::query_as(PAGE).bind(after).fetch_all(c).await) {
            Err(sqlx::Error::ColumnDecode { .. }) => Ok(Err(Broken::Unreadable(after.max(0)))),
            page => Ok(Ok(page?)),
        }
    }
}

/// Whether what is known elsewhere of this row agrees.
fn compare(heads: &[KnownHead], row: &Head) -> Result<(), Broken> {
    match heads.iter().find(|known| known.head.position == row.position && known.head.hash != row.hash) {
        Some(known) => Err(Broken::Rewritten { position: row.position, source_name: known.source.clone() }),
        None => Ok(()),
    }
}

/// The log is whole in itself: does it reach as far as is known elsewhere?
fn conclude(begin: &Head, end: Head, heads: &[KnownHead]) -> Result<Verified, Broken> {
    let newest = heads.iter().max_by_key(|known| known.head.position);
    if let Some(known) = newest.filter(|known| known.head.position > end.position) {
        let (found, expected) = (end.position, known.head.position);
        return Err(Broken::CutBefore { found, expected, source_name: known.source.clone() });
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
