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

use serde_json::Value;

use crate::failure::Failure;

/// Writes to standard output. A reader that has gone, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Says something that is no part of the answer, on standard error. Nothing depends on its being read.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(std::io::stderr(), "hint: {text}");
}

/// Says what keys of this user are worth, if it is known to have no role.
pub(crate) fn hint_at_roles(user: &Value) {
    if user["roles"].as_array().is_some_and(Vec::is_empty) {
        let id = &user["id"];
        hint(&format!(
            "user {id} has no role: keys of theirs may use no model; `paddock user update {id} --role user` gives one"
        ));
    }
}
