//! How the audit log can be broken.

/// The first place where the log differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
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
