//! The query parameters of the operations on audit events.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use std::str::FromStr;

use paddock_accounts::{CredentialId, UserId, Violation};
use paddock_store::audit::{AuditFilter, EventGroup, EventResult, EventType};
use serde::Deserialize;
use utoipa::{
    IntoParams,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use crate::{
    http::{
        error::ApiError,
        export::ExportFormat,
        extract::deserialize::{number, parsed},
    },
    routes::{schemas::SearchText, time_bound::TimeBound},
};

/// Event types, separated by commas.
#[derive(Clone)]
pub(super) struct EventTypes(Vec<EventType>);

impl FromStr for EventTypes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Documents the closed set of event types.
fn event_types() -> Object {
    let types = EventType::ALL.iter().map(|event_type| event_type.text()).collect::<Vec<_>>().join("|");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^({types})(,({types}))*$"))).build()
}

fn groups() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(EventGroup::TEXTS.iter().copied())).build()
}

fn results() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(EventResult::TEXTS.iter().copied())).build()
}

/// Kinds of actor, separated by commas.
pub(super) struct ActorKinds(Vec<&'static str>);

impl FromStr for ActorKinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KINDS: [&str; 5] = ["user", "key", "operator", "system", "anonymous"];
        let parse = |word| KINDS.into_iter().find(|kind| *kind == word);
        let kinds = text.split(',').map(parse).collect::<Option<_>>();
        kinds.map(Self).ok_or_else(|| format!("must be some of: {}", KINDS.join(", ")))
    }
}

/// Returns the types that match every filter; `None` if there is no filter by type.
fn selected_types(
    named: Option<&EventTypes>,
    group: Option<EventGroup>,
    result: Option<EventResult>,
) -> Option<Vec<EventType>> {
    if named.is_none() && group.is_none() && result.is_none() {
        return None;
    }
    let is_selected = |event_type: &EventType| {
        named.is_none_or(|named| named.0.contains(event_type))
            && group.is_none_or(|group| event_type.group() == group)
            && result.is_none_or(|result| event_type.result() == result)
    };
    Some(EventType::ALL.iter().copied().filter(is_selected).collect())
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
            /// Only events of this type, or of one of these types, separated by commas.
            #[serde(default, deserialize_with = "parsed")]
            #[param(schema_with = event_types)]
            event_type: Option<EventTypes>,
            /// Only events of this group of types: `sign_in`, `users` with their overrides, `keys`,
            /// `models`, `access` (denied requests) or `system` (the log itself).
            #[serde(default, deserialize_with = "parsed")]
            #[param(schema_with = groups)]
            group: Option<EventGroup>,
            /// Only events of what was done (`success`), or of what was refused or failed
            /// (`failure`).
            #[serde(default, deserialize_with = "parsed")]
            #[param(schema_with = results)]
            result: Option<EventResult>,
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
            /// Only events of these kinds of actor, separated by commas: `user`, `key`, `operator`,
            /// `system`, `anonymous`. `user,anonymous` folds machines away.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, example = "user,anonymous")]
            actor_kind: Option<ActorKinds>,
            /// Only events with this text in their target, such as an address, a model or a route.
            /// The case does not matter.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
            target: Option<SearchText>,
            /// Only events of the request with this id.
            #[serde(default, deserialize_with = "parsed")]
            request_id: Option<String>,
            /// Only events at or after this time: a UTC date, or a time in RFC 3339.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, example = "2026-01-31")]
            since: Option<TimeBound>,
            /// Only events before this time: a UTC date, or a time in RFC 3339.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, example = "2026-01-31T12:00:00Z")]
            until: Option<TimeBound>,
        }

        impl $name {
            /// Returns the filter of these parameters. Fails if `until` is not later than `since`.
            pub(super) fn filter(&self) -> Result<AuditFilter, ApiError> {
                let (since, until) = (self.since.map(|bound| bound.0), self.until.map(|bound| bound.0));
                if let (Some(since), Some(until)) = (since, until)
                    && until <= since
                {
                    return Err(ApiError::invalid(vec![Violation::new("?until", "must be later than since")]));
                }
                Ok(AuditFilter {
                    event_types: selected_types(self.event_type.as_ref(), self.group, self.result),
                    user_id: self.user_id.map(UserId),
                    credential_id: self.credential_id.map(CredentialId),
                    actor: self.actor.clone(),
                    actor_kinds: self.actor_kind.as_ref().map(|kinds| kinds.0.clone()).unwrap_or_default(),
                    target: self.target.as_ref().map(|target| target.0.clone()),
                    request_id: self.request_id.clone(),
                    since,
                    until,
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
