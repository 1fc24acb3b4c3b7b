//! Usage: what each request used, from its [`guard`] through the [`writer`] to the database.
//!
//! While the database is unavailable, records wait in the [`backlog`]; [`replay`] uploads them
//! later.

mod backlog;
mod guard;
mod in_flight_table;
mod recorder;
pub(crate) mod replay;
pub(crate) mod writer;

pub(crate) use backlog::UsageBacklog;
pub(super) use guard::{UsageGuard, UsageRequest};
pub(crate) use recorder::{Recorder, UsagePermits, channel};
