//! The JSON form of an audit event.

use paddock_store::{audit::AuditRow, clock::Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An audit event.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(crate) struct AuditView<'a> {
    /// The position in the chain, from 1, without gaps.
    id: i64,
    /// The id of the event.
    #[schema(value_type = String, format = "uuid")]
    event_id: uuid::Uuid,
    /// The type of the event.
    event_type: &'a str,
    /// When the event happened.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// The user that the event is about.
    #[schema(required)]
    user_id: Option<i64>,
    /// The credential that the event is about.
    #[schema(required)]
    credential_id: Option<i64>,
    /// The actor: `user:1`, `key:1`, `operator:<field manager>:<kind>/<namespace>/<name>`,
    /// `system:<part>`, `anonymous`.
    actor: &'a str,
    /// Another subject of the event: a model, an e-mail address or a route.
    #[schema(required)]
    target: Option<&'a str>,
    /// The client's address.
    #[schema(required)]
    ip: Option<&'a str>,
    /// The client's User-Agent.
    #[schema(required)]
    user_agent: Option<&'a str>,
    /// The request id.
    #[schema(required)]
    request_id: Option<&'a str>,
    /// A description in one line.
    #[schema(required)]
    detail: Option<&'a str>,
    /// The change: `before` and `after`, without secrets. The hash covers its text.
    #[schema(required, value_type = Option<std::collections::HashMap<String, serde_json::Value>>)]
    change: Option<&'a RawValue>,
    /// The version of the hash.
    chain_version: i64,
    /// The hash of the previous event.
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
