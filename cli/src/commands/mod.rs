//! The commands, one file or folder each.

pub(crate) mod api;
pub(crate) mod audit;
mod audit_list;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod healthcheck;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod migrate;
pub(crate) mod operator;
pub(crate) mod run;
pub(crate) mod seed;
pub(crate) mod usage;
pub(crate) mod user;

use std::io::Write as _;

use serde_json::Value;

use crate::error::Error;

/// Writes to standard output. A closed pipe, as `head` leaves it, is not an error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints a hint to standard error. Write errors are ignored.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(std::io::stderr(), "hint: {text}");
}

/// Prints a hint if the user is known to have no role, because keys of such a user may use no
/// model.
pub(crate) fn hint_if_no_role(user: &Value) {
    if user["roles"].as_array().is_some_and(Vec::is_empty) {
        let id = &user["id"];
        hint(&format!(
            "user {id} has no role: keys of theirs may use no model; `paddock user update {id} --role user` gives one"
        ));
    }
}
