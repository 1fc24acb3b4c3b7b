//! That the signing key is the one under which the log is sealed. What was written under another one would break the log
//! for good, and nobody would know before the next `audit verify`.

use super::{
    AuditRow,
    chain::{CHAIN_VERSION, Chain},
    columns,
};
use crate::{
    error::Error,
    store::{Conn, on, statements},
};

statements! {
    /// More than one, so that a row that somebody has changed is not taken for another key.
    NEWEST = concat!("SELECT ", columns!(), " FROM audit_logs ORDER BY id DESC LIMIT 8");
}

impl Chain {
    /// That it goes on under the key it has been under. An empty log takes any key.
    pub(crate) async fn must_fit(&self, conn: Conn<'_>) -> Result<(), Error> {
        let newest: Vec<AuditRow> = match on!(conn, |c| sqlx::query_as(NEWEST).fetch_all(c).await) {
            // Somebody wrote what no such column holds: `audit verify` tells of it, and the key may be right.
            Err(sqlx::Error::ColumnDecode { .. }) => return Ok(()),
            rows => rows?,
        };
        let mut known = newest.iter().filter(|row| row.chain_version == CHAIN_VERSION).peekable();
        if known.peek().is_none() {
            return Ok(());
        }
        if !known.any(|row| self.sealed(row)) {
            return Err(Error::OtherKey);
        }
        self.fits();
        Ok(())
    }
}
