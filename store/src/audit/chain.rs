//! The hash chain: the seal of each row covers the hash of the previous row.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use sqlx::QueryBuilder;

use super::{
    event::Event,
    head::Head,
    row::{AuditRow, columns},
    verify_error::VerifyError,
};
use crate::{
    clock::Timestamp,
    context::AuditContext,
    db::{Conn, Transaction},
    error::Error,
    ids::uuid_v7,
    statements, with_conn,
};

/// The version of the hash function below. A reader rejects any other version.
const CHAIN_VERSION: i64 = 1;

macro_rules! take_positions {
    () => {
        "UPDATE audit_head SET position = position + $1 RETURNING position, hash"
    };
}
macro_rules! into_columns {
    () => {
        concat!("INSERT INTO audit_logs (", columns!(), ") ")
    };
}
macro_rules! append {
    () => {
        concat!(into_columns!(), "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)")
    };
}

statements! {
    /// Locks the only row of `audit_head` until the commit, so audited transactions run in order.
    TAKE_POSITIONS = take_positions!();
    SEAL_HEAD = "UPDATE audit_head SET hash = $1";
    APPEND = append!();
    /// Reads several rows, so that a single edited row does not look like a changed signing key.
    NEWEST = concat!("SELECT ", columns!(), " FROM audit_logs ORDER BY id DESC LIMIT 8");
}

/// `TAKE_POSITIONS` for PostgreSQL. It also makes the next commit asynchronous, as
/// [`Transaction::commit_audited`] requires.
const TAKE_POSITIONS_POSTGRES: &str = concat!(take_positions!(), ", set_config('synchronous_commit', 'off', true)");
/// `SEAL_HEAD` and `APPEND` in one statement for PostgreSQL. One statement saves a round trip,
/// during which every other audited transaction would wait.
const SEAL_AND_APPEND_POSTGRES: &str = concat!("WITH sealed AS (UPDATE audit_head SET hash = $16) ", append!());

/// Binds the columns of a row, in table order.
macro_rules! bound {
    ($statement:expr, $row:expr) => {
        sqlx::query($statement)
            .bind($row.id)
            .bind($row.event_id)
            .bind($row.chain_version)
            .bind(&$row.event_type)
            .bind($row.occurred_at)
            .bind($row.user_id)
            .bind($row.credential_id)
            .bind(&$row.actor)
            .bind(&$row.target)
            .bind(&$row.ip)
            .bind(&$row.user_agent)
            .bind(&$row.request_id)
            .bind(&$row.detail)
            .bind(&$row.change)
            .bind(&$row.prev_hash)
            .bind(&$row.hash)
    };
}

/// Seals rows with the signing key. Cheap to clone. `Debug` does not print the key.
#[derive(Clone, Debug)]
pub struct Chain {
    key: hmac::Key,
    is_key_verified: Arc<AtomicBool>,
}

impl Chain {
    /// Creates the chain from `AUDIT_SIGNING_KEY`.
    #[must_use]
    pub fn new(signing_key: &SecretString) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, signing_key.expose_secret().as_bytes());
        Self { key, is_key_verified: Arc::default() }
    }

    /// Whether [`Chain::verify_signing_key`] has succeeded on recent rows.
    pub(crate) fn is_key_verified(&self) -> bool {
        self.is_key_verified.load(Ordering::Acquire)
    }

    /// Checks that the newest rows are sealed with this key; fails with
    /// [`Error::SigningKeyMismatch`] otherwise. A row sealed with another key would break the chain
    /// permanently, and only `audit verify` would report it. An empty log accepts any key.
    pub(crate) async fn verify_signing_key(&self, conn: Conn<'_>) -> Result<(), Error> {
        let newest: Vec<AuditRow> = match with_conn!(conn, |c| sqlx::query_as(NEWEST).fetch_all(c).await) {
            // A column holds a value of the wrong type. The key may still be correct. `audit
            // verify` reports the column.
            Err(sqlx::Error::ColumnDecode { .. }) => return Ok(()),
            rows => rows?,
        };
        let mut known = newest.iter().filter(|row| row.chain_version == CHAIN_VERSION).peekable();
        if known.peek().is_none() {
            return Ok(());
        }
        if !known.any(|row| self.is_sealed(row)) {
            return Err(Error::SigningKeyMismatch);
        }
        self.is_key_verified.store(true, Ordering::Release);
        Ok(())
    }

    /// Builds the row of an event, without its position and hashes.
    pub(crate) fn entry(event: Event, context: &AuditContext, now: Timestamp) -> AuditRow {
        AuditRow {
            id: 0,
            event_id: uuid_v7(now),
            chain_version: CHAIN_VERSION,
            event_type: event.event_type.text().to_owned(),
            occurred_at: now,
            user_id: event.user_id.map(Into::into),
            credential_id: event.credential_id.map(Into::into),
            actor: context.actor.to_string(),
            target: event.target,
            ip: context.ip.map(|ip| ip.to_canonical().to_string()),
            user_agent: context.user_agent.clone(),
            request_id: context.request_id.clone(),
            detail: event.detail,
            change: event.change.text(),
            prev_hash: String::new(),
            hash: String::new(),
        }
    }

    /// Takes the next position, seals the row and stores it. Call this immediately before the
    /// commit: from here on, every other audited transaction waits.
    pub(crate) async fn append(&self, tx: &mut Transaction, mut row: AuditRow) -> Result<Head, Error> {
        (row.id, row.prev_hash) = self.take_positions(tx, 1).await?;
        row.hash = self.hash(&row);
        seal_and_append(tx.conn(), &row).await.map_err(Error::audit)?;
        Ok(Head { position: row.id, hash: row.hash })
    }

    /// Appends many rows with one statement, so that other audited transactions wait only briefly.
    pub(crate) async fn append_all(&self, tx: &mut Transaction, mut rows: Vec<AuditRow>) -> Result<Head, Error> {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let (last, hash) = self.take_positions(tx, count).await?;
        let mut head = Head { position: last - count, hash };
        for row in &mut rows {
            row.id = head.position + 1;
            row.prev_hash = head.hash;
            row.hash = self.hash(row);
            head = Head { position: row.id, hash: row.hash.clone() };
        }
        insert(tx.conn(), &rows).await.map_err(Error::audit)?;
        with_conn!(tx.conn(), |c| sqlx::query(SEAL_HEAD).bind(&head.hash).execute(c).await.map(|_| ()))
            .map_err(Error::audit)?;
        Ok(head)
    }

    /// Reserves `count` positions. Returns the last of them, and the hash of the row before the
    /// first. Fails if the log is sealed with another key.
    async fn take_positions(&self, tx: &mut Transaction, count: i64) -> Result<(i64, String), Error> {
        let taken = take_positions(tx.conn(), count).await.map_err(Error::audit)?;
        if !self.is_key_verified() {
            self.verify_signing_key(tx.conn()).await?;
        }
        Ok(taken)
    }

    /// Returns the head after the row, if the row has a valid seal and follows `before`.
    pub(super) fn follow(&self, row: &AuditRow, before: &Head) -> Result<Head, VerifyError> {
        if row.id <= before.position {
            return Err(VerifyError::Unlinked(row.id));
        }
        if row.id != before.position + 1 {
            return Err(VerifyError::Missing(before.position + 1));
        }
        if row.chain_version != CHAIN_VERSION {
            return Err(VerifyError::Unknown(row.id, row.chain_version));
        }
        if !self.is_sealed(row) {
            return Err(VerifyError::Changed(row.id));
        }
        if row.prev_hash != before.hash {
            return Err(VerifyError::Unlinked(row.id));
        }
        Ok(Head { position: row.id, hash: row.hash.clone() })
    }

    /// Whether the row is unchanged since it was sealed with this key.
    fn is_sealed(&self, row: &AuditRow) -> bool {
        self.hash(row) == row.hash
    }

    /// The seal of a row: HMAC-SHA-256 over its columns in a fixed order, each with its length. The
    /// lengths make the input of two different rows differ.
    fn hash(&self, row: &AuditRow) -> String {
        let number = |n: i64| n.to_be_bytes();
        let mut mac = RowMac(hmac::Context::with_key(&self.key));
        mac.column(Some(&number(row.chain_version)));
        mac.column(Some(&number(row.id)));
        mac.column(Some(row.event_id.as_bytes()));
        mac.column(Some(row.event_type.as_bytes()));
        mac.column(Some(&number(row.occurred_at.micros())));
        mac.column(row.user_id.map(number).as_ref().map(<[u8; 8]>::as_slice));
        mac.column(row.credential_id.map(number).as_ref().map(<[u8; 8]>::as_slice));
        mac.column(Some(row.actor.as_bytes()));
        for text in [&row.target, &row.ip, &row.user_agent, &row.request_id, &row.detail, &row.change] {
            mac.column(text.as_deref().map(str::as_bytes));
        }
        mac.column(Some(row.prev_hash.as_bytes()));
        mac.text()
    }

    /// The seal of a checkpoint. Its first column differs from the first column of every row.
    pub(super) fn seal_anchor(&self, at: &Head) -> String {
        let mut mac = RowMac(hmac::Context::with_key(&self.key));
        mac.column(Some(b"paddock audit anchor"));
        mac.column(Some(&at.position.to_be_bytes()));
        mac.column(Some(at.hash.as_bytes()));
        mac.text()
    }
}

/// The MAC of a row in progress.
struct RowMac(hmac::Context);

impl RowMac {
    fn column(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                self.0.update(&(bytes.len() as u64).to_be_bytes());
                self.0.update(bytes);
            }
            // NULL has an impossible length, so that it differs from the empty text.
            None => self.0.update(&u64::MAX.to_be_bytes()),
        }
    }

    fn text(self) -> String {
        hex::encode(self.0.sign())
    }
}

async fn take_positions(conn: Conn<'_>, count: i64) -> Result<(i64, String), sqlx::Error> {
    match conn {
        Conn::Pg(c) => sqlx::query_as(TAKE_POSITIONS_POSTGRES).bind(count).fetch_one(c).await,
        Conn::Sqlite(c) => sqlx::query_as(TAKE_POSITIONS).bind(count).fetch_one(c).await,
    }
}

async fn seal_and_append(conn: Conn<'_>, row: &AuditRow) -> Result<(), sqlx::Error> {
    match conn {
        Conn::Pg(c) => bound!(SEAL_AND_APPEND_POSTGRES, row).execute(c).await.map(|_| ()),
        Conn::Sqlite(c) => {
            sqlx::query(SEAL_HEAD).bind(&row.hash).execute(&mut *c).await?;
            bound!(APPEND, row).execute(c).await.map(|_| ())
        }
    }
}

/// Inserts rows with one statement. The caller keeps their number within the parameter limit of
/// either engine.
async fn insert(conn: Conn<'_>, rows: &[AuditRow]) -> Result<(), sqlx::Error> {
    macro_rules! inserted {
        ($conn:expr) => {{
            let mut query = QueryBuilder::new(into_columns!());
            query.push_values(rows, |mut values, row| {
                values
                    .push_bind(row.id)
                    .push_bind(row.event_id)
                    .push_bind(row.chain_version)
                    .push_bind(&row.event_type)
                    .push_bind(row.occurred_at)
                    .push_bind(row.user_id)
                    .push_bind(row.credential_id)
                    .push_bind(&row.actor)
                    .push_bind(&row.target)
                    .push_bind(&row.ip)
                    .push_bind(&row.user_agent)
                    .push_bind(&row.request_id)
                    .push_bind(&row.detail)
                    .push_bind(&row.change)
                    .push_bind(&row.prev_hash)
                    .push_bind(&row.hash);
            });
            query.build().execute($conn).await.map(|_| ())
        }};
    }
    with_conn!(conn, |c| inserted!(c))
}
