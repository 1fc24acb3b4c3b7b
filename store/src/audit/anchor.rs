//! The checkpoint that the log continues from after retention removed older rows.

use super::{chain::Chain, head::Head};
use crate::{db::Conn, error::Error, statements, with_conn};

statements! {
    ANCHOR = "SELECT position, hash, seal FROM audit_anchor";
    MOVE_ANCHOR = "UPDATE audit_anchor SET position = $1, hash = $2, seal = $3";
}

/// The row of `audit_anchor`: the checkpoint of the chain, sealed with the signing key. The
/// checkpoint is the last row that retention removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) at: Head,
    seal: String,
}

impl Anchor {
    pub(super) fn new(at: Head, chain: &Chain) -> Self {
        Self { seal: chain.seal_anchor(&at), at }
    }

    /// Returns the checkpoint if its seal is valid. Before the first removal, the seal is empty.
    pub(super) fn verify(&self, chain: &Chain) -> Option<&Head> {
        let seal = if self.at == Head::default() { String::new() } else { chain.seal_anchor(&self.at) };
        (self.seal == seal).then_some(&self.at)
    }

    /// Stores this as the checkpoint of the log.
    pub(super) async fn store(&self, conn: Conn<'_>) -> Result<(), Error> {
        with_conn!(conn, |c| sqlx::query(MOVE_ANCHOR)
            .bind(self.at.position)
            .bind(&self.at.hash)
            .bind(&self.seal)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }

    fn from_row((position, hash, seal): (i64, String, String)) -> Self {
        Self { at: Head { position, hash }, seal }
    }
}

/// Loads the checkpoint of the log. Returns `None` if the row of `audit_anchor` is missing.
pub(super) async fn load(conn: Conn<'_>) -> Result<Option<Anchor>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(ANCHOR).fetch_optional(c).await?).map(Anchor::from_row))
}

/// Loads the checkpoint and locks its row until the transaction ends. Returns `None` if the row is
/// missing, or while another process holds the lock.
pub(super) async fn load_locked(conn: Conn<'_>) -> Result<Option<Anchor>, Error> {
    const LOCKED: &str = "SELECT position, hash, seal FROM audit_anchor FOR UPDATE SKIP LOCKED";
    match conn {
        Conn::Pg(c) => Ok(sqlx::query_as(LOCKED).fetch_optional(c).await?.map(Anchor::from_row)),
        Conn::Sqlite(c) => load(Conn::Sqlite(c)).await,
    }
}
