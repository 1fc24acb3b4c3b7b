//! The hash chain: each row is sealed together with the one before it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use sqlx::QueryBuilder;

use super::{AuditRow, Broken, Event, Head, columns, head::HeadFile, ip_text};
use crate::{
    clock::Time,
    context::Context,
    error::Error,
    ids::uuid_v7,
    store::{Conn, Tx, on, statements},
};

/// The way rows are hashed now; a reader that meets another number knows it must not guess.
pub(super) const CHAIN_VERSION: i64 = 1;

macro_rules! take_places {
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
    /// The lock on this one row, held until commit, puts audited transactions in order.
    TAKE_PLACES = take_places!();
    SEAL_HEAD = "UPDATE audit_head SET hash = $1";
    APPEND = append!();
}

/// The same on PostgreSQL, where the commit that follows does not wait for the disk: see [`Tx::commit_audited`].
const TAKE_PLACES_POSTGRES: &str = concat!(take_places!(), ", set_config('synchronous_commit', 'off', true)");
/// Both in one, on PostgreSQL: all others wait for each answer that is waited for here.
const SEAL_AND_APPEND_POSTGRES: &str = concat!("WITH sealed AS (UPDATE audit_head SET hash = $16) ", append!());

/// A statement with a row's columns, in table order.
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

/// Seals rows under the signing key, and follows the end they come to. Cheap to clone; prints nothing of the key.
#[derive(Clone, Debug)]
pub struct Chain {
    key: hmac::Key,
    heads: Arc<HeadFile>,
    fits: Arc<AtomicBool>,
}

impl Chain {
    /// From `AUDIT_SIGNING_KEY`.
    #[must_use]
    pub fn new(signing_key: &SecretString) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, signing_key.expose_secret().as_bytes());
        Self { key, heads: Arc::default(), fits: Arc::default() }
    }

    /// The same, whose end is written to this file.
    pub(crate) fn followed_in(self, head_file: Option<PathBuf>) -> Self {
        Self { heads: Arc::new(HeadFile::new(head_file)), ..self }
    }

    /// Whether the log is known to be sealed under this key.
    pub(crate) fn is_known_to_fit(&self) -> bool {
        self.fits.load(Ordering::Acquire)
    }

    pub(super) fn fits(&self) {
        self.fits.store(true, Ordering::Release);
    }

    /// Where its end is told.
    pub(crate) fn heads(&self) -> &Arc<HeadFile> {
        &self.heads
    }

    /// The row an event becomes, but for its place and its hashes.
    pub(crate) fn entry(event: Event, context: &Context, now: Time) -> AuditRow {
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
            ip: context.ip.map(ip_text),
            user_agent: context.user_agent.clone(),
            request_id: context.request_id.clone(),
            detail: event.detail,
            change: event.change.text(),
            prev_hash: String::new(),
            hash: String::new(),
        }
    }

    /// Takes the next place, seals the row and stores it. The last thing a transaction does before it commits, because
    /// every other audited transaction waits from here on.
    pub(crate) async fn append(&self, tx: &mut Tx, mut row: AuditRow) -> Result<Head, Error> {
        (row.id, row.prev_hash) = self.take_places(tx, 1).await?;
        row.hash = self.hash(&row);
        seal_and_append(tx.conn(), &row).await.map_err(Error::audit)?;
        Ok(Head { position: row.id, hash: row.hash })
    }

    /// The same for many rows, which is one statement for all: whoever waits does not wait for each of them.
    pub(crate) async fn append_all(&self, tx: &mut Tx, mut rows: Vec<AuditRow>) -> Result<Head, Error> {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let (last, hash) = self.take_places(tx, count).await?;
        let mut head = Head { position: last - count, hash };
        for row in &mut rows {
            row.id = head.position + 1;
            row.prev_hash = head.hash;
            row.hash = self.hash(row);
            head = Head { position: row.id, hash: row.hash.clone() };
        }
        insert(tx.conn(), &rows).await.map_err(Error::audit)?;
        on!(tx.conn(), |c| sqlx::query(SEAL_HEAD).bind(&head.hash).execute(c).await.map(|_| ()))
            .map_err(Error::audit)?;
        Ok(head)
    }

    /// Takes so many places: the last of them, and the hash of the row before the first. Nothing is written under another key
    /// than what is there.
    async fn take_places(&self, tx: &mut Tx, count: i64) -> Result<(i64, String), Error> {
        let taken = take_places(tx.conn(), count).await.map_err(Error::audit)?;
        if !self.is_known_to_fit() {
            self.must_fit(tx.conn()).await?;
        }
        Ok(taken)
    }

    /// The place that a row is at, if it is what was sealed and follows this one.
    pub(super) fn follow(&self, row: &AuditRow, before: &Head) -> Result<Head, Broken> {
        if row.id <= before.position {
            return Err(Broken::Unlinked(row.id));
        }
        if row.id != before.position + 1 {
            return Err(Broken::Missing(before.position + 1));
        }
        if row.chain_version != CHAIN_VERSION {
            return Err(Broken::Unknown(row.id, row.chain_version));
        }
        if !self.sealed(row) {
            return Err(Broken::Changed(row.id));
        }
        if row.prev_hash != before.hash {
            return Err(Broken::Unlinked(row.id));
        }
        Ok(Head { position: row.id, hash: row.hash.clone() })
    }

    /// Whether a row is what was sealed under this key.
    pub(super) fn sealed(&self, row: &AuditRow) -> bool {
        self.hash(row) == row.hash
    }

    /// The seal of a row: HMAC-SHA-256 over every column in table order, each with its length, so that no two rows
    /// share one text.
    fn hash(&self, row: &AuditRow) -> String {
        let number = |n: i64| n.to_be_bytes();
        let mut seal = Seal(hmac::Context::with_key(&self.key));
        seal.column(Some(&number(row.chain_version)));
        seal.column(Some(&number(row.id)));
        seal.column(Some(row.event_id.as_bytes()));
        seal.column(Some(row.event_type.as_bytes()));
        seal.column(Some(&number(row.occurred_at.micros())));
        seal.column(row.user_id.map(number).as_ref().map(<[u8; 8]>::as_slice));
        seal.column(row.credential_id.map(number).as_ref().map(<[u8; 8]>::as_slice));
        seal.column(Some(row.actor.as_bytes()));
        for text in [&row.target, &row.ip, &row.user_agent, &row.request_id, &row.detail, &row.change] {
            seal.column(text.as_deref().map(str::as_bytes));
        }
        seal.column(Some(row.prev_hash.as_bytes()));
        seal.text()
    }

    /// The seal of the place where the log begins, after what retention removed. No row begins with these words.
    pub(super) fn anchor_seal(&self, at: &Head) -> String {
        let mut seal = Seal(hmac::Context::with_key(&self.key));
        seal.column(Some(b"paddock audit anchor"));
        seal.column(Some(&at.position.to_be_bytes()));
        seal.column(Some(at.hash.as_bytes()));
        seal.text()
    }
}

/// A seal under way.
struct Seal(hmac::Context);

impl Seal {
    fn column(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                self.0.update(&(bytes.len() as u64).to_be_bytes());
                self.0.update(bytes);
            }
            // No length, so that NULL is not the empty text.
            None => self.0.update(&u64::MAX.to_be_bytes()),
        }
    }

    fn text(self) -> String {
        hex::encode(self.0.sign())
    }
}

async fn take_places(conn: Conn<'_>, count: i64) -> Result<(i64, String), sqlx::Error> {
    match conn {
        Conn::Pg(c) => sqlx::query_as(TAKE_PLACES_POSTGRES).bind(count).fetch_one(c).await,
        Conn::Sqlite(c) => sqlx::query_as(TAKE_PLACES).bind(count).fetch_one(c).await,
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

/// Few enough rows for either engine's parameters.
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
    on!(conn, |c| inserted!(c))
}
