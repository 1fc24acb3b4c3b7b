//! What a process knows about the state of the chain.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{head::Head, verify_error::VerifyError};
use crate::clock::Timestamp;

/// How far the chain is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainStatus {
    /// The last row that was verified; `None` before the first.
    pub verified: Option<VerifiedRow>,
    /// When the log was last verified from its beginning to its end.
    pub complete_at: Option<Timestamp>,
    /// The first defect. It stays until a verification from the beginning finds none.
    pub defect: Option<VerifyError>,
}

/// A row up to which every row is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRow {
    /// The row.
    pub head: Head,
    /// When it was verified.
    pub at: Timestamp,
}

/// The progress of the verification of one process.
#[derive(Default)]
pub(super) struct Verifier {
    pub(super) status: Mutex<ChainStatus>,
    /// Wakes the verification.
    pub(super) requested: Notify,
}
