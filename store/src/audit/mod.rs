//! The audit log: an append-only table whose rows form a hash chain.

mod aggregated_writes;
mod aggregator;
mod anchor;
pub(crate) mod chain;
mod chain_status;
pub(crate) mod event;
mod event_group;
mod handle;
pub(crate) mod head;
pub(crate) mod head_file;
mod maintenance;
mod query;
mod retention;
mod row;
mod verifier;
mod verify;
mod verify_error;

pub use aggregator::AggregateKey;
pub use chain::Chain;
pub use chain_status::{ChainStatus, VerifiedRow};
pub use event::{Change, Event, EventType};
pub use event_group::{EventGroup, EventResult};
pub use handle::AuditLog;
pub use head::Head;
pub use query::{AuditExport, AuditFilter};
pub use row::AuditRow;
pub use verify::{KnownHead, Verified};
pub use verify_error::VerifyError;

/// Returns the name and SQL of every statement of this module.
pub fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [
        anchor::STATEMENTS,
        chain::STATEMENTS,
        head_file::STATEMENTS,
        query::STATEMENTS,
        retention::STATEMENTS,
        verify::STATEMENTS,
    ]
    .into_iter()
    .flatten()
}
