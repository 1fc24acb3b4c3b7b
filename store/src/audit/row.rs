//! The rows of the audit log.

use serde::Serialize;
use sqlx::{Decode, FromRow, Type};
use uuid::Uuid;

use crate::{clock::Timestamp, db::codec::PositionalRow};

/// The columns of the log, in the order in which [`AuditRow`] reads them.
macro_rules! columns {
    () => {
        "id, event_id, chain_version, event_type, occurred_at, user_id, credential_id, actor, target, ip, user_agent, \
         request_id, detail, change, prev_hash, hash"
    };
}
pub(super) use columns;

/// One row of the log, as it is stored. Its texts are owned, or borrowed from the reply of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow<T = String> {
    /// The place in the chain, from 1.
    pub id: i64,
    /// `UUIDv7`.
    pub event_id: Uuid,
    /// How the hash is made.
    pub chain_version: i64,
    /// One of [`EventType`](super::EventType), or a newer one.
    pub event_type: T,
    /// When.
    pub occurred_at: Timestamp,
    /// The user the event is about.
    pub user_id: Option<i64>,
    /// The credential the event is about.
    pub credential_id: Option<i64>,
    /// Who acted: `user:1`, `key:1`, `operator:<field manager>:<kind>/<namespace>/<name>`, `system:seed`, `anonymous`.
    pub actor: T,
    /// What else it is about: a model, an e-mail address.
    pub target: Option<T>,
    /// The client's address.
    pub ip: Option<T>,
    /// The client's User-Agent.
    pub user_agent: Option<T>,
    /// The request's id.
    pub request_id: Option<T>,
    /// One line for people.
    pub detail: Option<T>,
    /// Canonical JSON `{"after": {..}, "before": {..}}`.
    pub change: Option<T>,
    /// The hash of the row before.
    pub prev_hash: T,
    /// HMAC-SHA-256 over every column above and `prev_hash`, in hexadecimal.
    pub hash: T,
}

impl AuditRow {
    /// Copies the texts, so that the row outlives the reply of the database.
    #[must_use]
    pub fn owned(row: &AuditRow<&str>) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            chain_version: row.chain_version,
            event_type: row.event_type.to_owned(),
            occurred_at: row.occurred_at,
            user_id: row.user_id,
            credential_id: row.credential_id,
            actor: row.actor.to_owned(),
            target: row.target.map(str::to_owned),
            ip: row.ip.map(str::to_owned),
            user_agent: row.user_agent.map(str::to_owned),
            request_id: row.request_id.map(str::to_owned),
            detail: row.detail.map(str::to_owned),
            change: row.change.map(str::to_owned),
            prev_hash: row.prev_hash.to_owned(),
            hash: row.hash.to_owned(),
        }
    }
}

impl<'r, R: PositionalRow, T> FromRow<'r, R> for AuditRow<T>
where
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Uuid: Decode<'r, R::Database> + Type<R::Database>,
    Timestamp: Decode<'r, R::Database> + Type<R::Database>,
    T: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.value_at(0)?,
            event_id: row.value_at(1)?,
            chain_version: row.value_at(2)?,
            event_type: row.value_at(3)?,
            occurred_at: row.value_at(4)?,
            user_id: row.value_at(5)?,
            credential_id: row.value_at(6)?,
            actor: row.value_at(7)?,
            target: row.value_at(8)?,
            ip: row.value_at(9)?,
            user_agent: row.value_at(10)?,
            request_id: row.value_at(11)?,
            detail: row.value_at(12)?,
            change: row.value_at(13)?,
            prev_hash: row.value_at(14)?,
            hash: row.value_at(15)?,
        })
    }
}
