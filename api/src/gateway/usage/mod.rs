//! Usage: the tokens of each request. The [`guard`] of a request sends a record to the [`writer`],
//! which stores it in the database.
//!
//! While the database is unavailable, records wait in the [`backlog`]; [`replay`] uploads them
//! later.

mod backlog;
mod guard;
mod in_flight_table;
mod pending;
mod recorder;
pub(crate) mod replay;
pub(crate) mod writer;

pub(crate) use backlog::UsageBacklog;
pub(super) use guard::{UsageGuard, UsageRequest};
pub(super) use pending::PendingUsage;
pub(crate) use recorder::{Recorder, channel};
