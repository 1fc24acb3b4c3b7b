//! The JSON form of an audit event.

use paddock_store::{audit::AuditRow, clock::Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(crate) struct AuditView<'a> {
    /// The place in the chain, from 1, without a gap.
    id: i64,
    /// The event's own id.
    #[schema(value_type = String, format = "uuid")]
    event_id: uuid::Uuid,
    /// What happened.
    event_type: &'a str,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// The user that the event is about.
    #[schema(required)]
    user_id: Option<i64>,
    /// The credential that the event is about.
    #[schema(required)]
    credential_id: Option<i64>,
    /// Who acted: `user:1`, `key:1`, `operator:<field manager>:<kind>/<namespace>/<name>`, `system:<part>`, `anonymous`.
    actor: &'a str,
    /// What else the event is about: a model, an e-mail address, a route.
    #[schema(required)]
    target: Option<&'a str>,
    /// The client's address.
    #[schema(required)]
    ip: Option<&'a str>,
    /// The client's User-Agent.
    #[schema(required)]
    user_agent: Option<&'a str>,
    /// The request's id.
    #[schema(required)]
    request_id: Option<&'a str>,
    /// One line for people.
    #[schema(required)]
    detail: Option<&'a str>,
    /// What changed: `before` and `after`, without secrets. Its text is what the hash was made over.
    #[schema(required, value_type = Option<std::collections::HashMap<String, serde_json::Value>>)]
    change: Option<&'a RawValue>,
    /// How the hash is made.
    chain_version: i64,
    /// The hash of the event before.
    prev_hash: &'a str,
    /// HMAC-SHA-256 over every column and `prev_hash`, in hexadecimal.
    hash: &'a str,
}

impl<'a> From<&AuditRow<&'a str>> for AuditView<'a> {
    fn from(row: &AuditRow<&'a str>) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            event_type: row.event_type,
            occurred_at: row.occurred_at,
            user_id: row.user_id,
            credential_id: row.credential_id,
            actor: row.actor,
            target: row.target,
            ip: row.ip,
            user_agent: row.user_agent,
            request_id: row.request_id,
            detail: row.detail,
            // A tampered text that is no longer JSON must not hide the event. The check of the
            // chain reports it.
            change: row.change.and_then(|text| serde_json::from_str(text).ok()),
            chain_version: row.chain_version,
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}
