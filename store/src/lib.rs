//! The database of Paddock: PostgreSQL or SQLite, the write door, and the audit log.
//!
//! This crate opens the database, runs the migrations and hands out connections. Every change
//! commits together with its audit event, through [`Store::begin`]. The crate knows no rule about
//! users, keys or sessions: `paddock-accounts` has these rules.

pub mod audit;
pub mod clock;
pub mod context;
pub mod db;
mod error;
mod error_chain;
mod identity;
pub mod ids;
mod open;
mod outdated_statements;
mod retry;
pub mod rights;
mod write;

pub use db::{Conn, Connections, OpenError, OpenOptions, ReadConn, migrate};
pub use error::Error;
pub use error_chain::error_chain;
pub use identity::DatabaseIdentity;
pub use retry::{LostRace, retry_lost_race};
pub use write::{RecordTx, Store, Tx};

/// All named statements of this crate.
pub fn all_statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    audit::statements().chain(identity::STATEMENTS)
}
