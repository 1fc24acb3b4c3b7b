//! The database of Paddock: PostgreSQL or SQLite, the write door, and the audit log.
//!
//! This crate opens the database, runs the migrations and hands out connections. Every change
//! commits together with its audit event, through [`Store::write`]. The crate knows no rule about
//! users, keys or sessions: those are in `paddock-accounts`.

pub mod audit;
pub mod clock;
pub mod context;
pub mod db;
mod error;
mod error_chain;
pub mod ids;
mod open;
pub mod rights;
mod write;

pub use db::{Conn, Connections, OpenError, OpenOptions, ReadConn, Tx, migrate};
pub use error::Error;
pub use error_chain::error_chain;
pub use write::{Mutation, MutationError, MutationFuture, Store};
