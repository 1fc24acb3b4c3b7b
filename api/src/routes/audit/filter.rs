//! The query parameters of the operations on audit events.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use paddock_accounts::{CredentialId, UserId, Violation};
use paddock_store::{
    audit::{AuditFilter, EventType},
    clock::Timestamp,
};
use serde::Deserialize;
use utoipa::{
    IntoParams,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use super::encoder::ExportFormat;
use crate::http::{
    error::ApiError,
    extract::deserialize::{number, parsed},
};

/// Documents the closed set of event types.
fn event_types() -> Object {
    let types = EventType::ALL.iter().map(|event_type| event_type.text());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types)).build()
}

/// Defines the query of an operation on events, with the filters that all of them share.
macro_rules! filtered {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            $($own)*
            /// Only events of this type.
            #[serde(default, deserialize_with = "parsed")]
            #[param(schema_with = event_types)]
            event_type: Option<EventType>,
            /// Only events about this user.
            #[serde(default, deserialize_with = "number")]
            user_id: Option<i64>,
            /// Only events about this credential.
            #[serde(default, deserialize_with = "number")]
            credential_id: Option<i64>,
            /// Only events of this actor, as events name it: `user:1`, `key:1`, `system:seed`,
            /// `anonymous`.
            #[serde(default, deserialize_with = "parsed")]
            actor: Option<String>,
            /// Only events at or after this time, in RFC 3339.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, format = DateTime)]
            since: Option<Timestamp>,
            /// Only events before this time, in RFC 3339.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, format = DateTime)]
            until: Option<Timestamp>,
        }

        impl $name {
            /// Returns the filter of these parameters. Fails if `until` is not later than `since`.
            pub(super) fn filter(&self) -> Result<AuditFilter, ApiError> {
                if let (Some(since), Some(until)) = (self.since, self.until)
                    && until <= since
                {
                    return Err(ApiError::invalid(vec![Violation::new("?until", "must be later than since")]));
                }
                Ok(AuditFilter {
                    event_type: self.event_type.map(|event_type| event_type.text().to_owned()),
                    user_id: self.user_id.map(UserId),
                    credential_id: self.credential_id.map(CredentialId),
                    actor: self.actor.clone(),
                    since: self.since,
                    until: self.until,
                    before: None,
                })
            }
        }
    };
}

filtered! {
    /// The filter of a list of events.
    ListEvents {
        /// The maximum number of events.
        #[serde(default, deserialize_with = "number")]
        #[param(minimum = 1, maximum = 500, default = 100)]
        pub(super) limit: Option<i64>,
        /// The `X-Next-Cursor` of the previous page.
        #[serde(default, deserialize_with = "number")]
        pub(super) cursor: Option<i64>,
    }
}

filtered! {
    /// The filter and the format of an export.
    ExportEvents {
        /// The format: `csv` or `ndjson`.
        #[serde(default, deserialize_with = "parsed")]
        #[param(value_type = Option<ExportFormat>, inline, default = "ndjson")]
        pub(super) format: Option<ExportFormat>,
    }
}
