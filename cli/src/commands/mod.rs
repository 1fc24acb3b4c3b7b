//! One file for each command.

pub(crate) mod api;
pub(crate) mod audit;
mod audit_list;
pub(crate) mod config;
pub(crate) mod healthcheck;
pub(crate) mod key;
pub(crate) mod migrate;
pub(crate) mod operator;
pub(crate) mod run;
pub(crate) mod seed;
pub(crate) mod usage;
pub(crate) mod user;

use std::io::Write as _;

use crate::failure::Failure;

/// Writes to standard output. A reader that has gone, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
