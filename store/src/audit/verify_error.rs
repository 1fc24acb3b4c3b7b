//! The defects of an audit log.

/// The first defect in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A row is missing.
    #[error("row {0} is missing")]
    Missing(i64),
    /// A row was edited after it was sealed, or was sealed with another key.
    #[error("row {0} is not what was written, or AUDIT_SIGNING_KEY is not the key it was written under")]
    Changed(i64),
    /// A row does not follow the previous row.
    #[error("row {0} does not follow the row before it")]
    Unlinked(i64),
    /// A column contains a value of the wrong type.
    #[error("a row after row {0} cannot be read: it is not what was written")]
    Unreadable(i64),
    /// The log does not end at its head.
    #[error("the log ends at row {found}, its head says {expected}")]
    Cut {
        /// The position of the last row.
        found: i64,
        /// The position in `audit_head`.
        expected: i64,
    },
    /// The log ends before a known head.
    #[error(
        "the log ends at row {found}, {source_name} names row {expected}: the newest rows are gone, or the database was restored from a backup since; if it was, move {source_name} away, as the proof"
    )]
    CutBefore {
        /// The position of the last row.
        found: i64,
        /// The position of the known head.
        expected: i64,
        /// Where the head was saved.
        source_name: String,
    },
    /// The hash of a row differs from a known head.
    #[error(
        "row {position} is not the row that {source_name} names: the log was written anew, went on from a restored backup, or is another one"
    )]
    Rewritten {
        /// The position of the row.
        position: i64,
        /// Where the head was saved.
        source_name: String,
    },
    /// The row of `audit_head` is missing.
    #[error("the row of audit_head is missing")]
    Headless,
    /// The row of `audit_anchor` is missing, or its seal is invalid.
    #[error("audit_anchor is not what retention wrote, or AUDIT_SIGNING_KEY is not the key it was written under")]
    Anchor,
    /// A row has a chain version that this executable does not support.
    #[error("row {0} has chain version {1}: verify with a newer paddock")]
    Unknown(i64, i64),
}
