//! The audit log.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use std::io;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::{HeaderName, HeaderValue, header};
use paddock_accounts::{CredentialId, UserId, Violation, access::Permission, types::Scope};
use paddock_store::{
    audit::{AuditExport, AuditFilter, AuditRow, EventType},
    clock::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{
    IntoParams, ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use crate::{
    app::{App, ask},
    authentication::Caller,
    export::{Encoder, Format},
    extract::{Query, Sender, within},
    openapi::{CallerProblems, Problems},
    problem::Problem,
    shape::{number, parsed},
};

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
            // Text that someone made no JSON of any more must not hide the rest: the chain's check will find it.
            change: row.change.and_then(|text| serde_json::from_str(text).ok()),
            chain_version: row.chain_version,
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}

/// The closed list.
fn event_types() -> Object {
    let types = EventType::ALL.iter().map(|event_type| event_type.text());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types)).build()
}

/// The parameters of an operation on events, with the filters that they all have.
macro_rules! filtered {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(crate) struct $name {
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
            /// Only what this one did, written as an event has it: `user:1`, `key:1`, `system:seed`, `anonymous`.
            #[serde(default, deserialize_with = "parsed")]
            actor: Option<String>,
            /// Not before this time, in RFC 3339.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, format = DateTime)]
            since: Option<Timestamp>,
            /// Before this time, in RFC 3339.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, format = DateTime)]
            until: Option<Timestamp>,
        }

        impl $name {
            fn filter(&self) -> Result<AuditFilter, Problem> {
                if let (Some(since), Some(until)) = (self.since, self.until)
                    && until <= since
                {
                    return Err(Problem::invalid(vec![Violation::new("?until", "must be later than since")]));
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
    /// Which events to list.
    ListEvents {
        /// How many at the most.
        #[serde(default, deserialize_with = "number")]
        #[param(minimum = 1, maximum = 500, default = 100)]
        limit: Option<i64>,
        /// Where the page before ended: its `X-Next-Cursor`.
        #[serde(default, deserialize_with = "number")]
        cursor: Option<i64>,
    }
}

filtered! {
    /// Which events to take away, and how.
    ExportEvents {
        /// How they are written: `csv` or `ndjson`.
        #[serde(default, deserialize_with = "parsed")]
        #[param(value_type = Option<Format>, inline, default = "ndjson")]
        format: Option<Format>,
    }
}

/// Lists events, newest first. How many there are in all is not counted: follow the cursor.
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "audit", params(ListEvents),
    responses(
        (status = 200, description = "The events.", body = Vec<AuditView>,
         headers(("X-Next-Cursor" = i64, description = "The `cursor` of the next page. Absent: this was the last one."))),
        Problems, CallerProblems
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(State(app): State<App>, mut caller: Caller, query: Query) -> Result<Response, Problem> {
    caller.must(Permission::Manage(Scope::AuditRead)).await?;
    let asked: ListEvents = query.read()?;
    let limit = within("?limit", asked.limit.unwrap_or(100), 1, 500)?;
    let filter = AuditFilter { before: asked.cursor, ..asked.filter()? };
    let limit = u16::try_from(limit).unwrap_or(u16::MAX);
    let mut page = Page::new(limit);
    let rows = ask(app.accounts.audit().list(&filter, limit + 1, |row| page.push(row))).await?;
    rows.into_iter().collect::<serde_json::Result<()>>().map_err(|_| Problem::internal())?;
    Ok(page.into_response())
}

/// A page of events under way. Each is written as the database tells of it: none has to be kept.
struct Page {
    text: Vec<u8>,
    /// How many more it takes.
    left: u16,
    last: Option<i64>,
    /// Whether there was one more than it takes.
    more: bool,
}

impl Page {
    /// About as much as an event takes.
    const EVENT: usize = 640;

    fn new(limit: u16) -> Self {
        Self { text: vec![b'['], left: limit, last: None, more: false }
    }

    fn push(&mut self, row: &AuditRow<&str>) -> serde_json::Result<()> {
        if self.left == 0 {
            self.more = true;
            return Ok(());
        }
        match self.last.replace(row.id) {
            None => self.text.reserve(usize::from(self.left) * Self::EVENT),
            Some(_) => self.text.push(b','),
        }
        self.left -= 1;
        serde_json::to_writer(&mut self.text, &AuditView::from(row))
    }
}

impl IntoResponse for Page {
    fn into_response(mut self) -> Response {
        self.text.push(b']');
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let next = self.last.filter(|_| self.more);
        let next = next.map(|last| [(HeaderName::from_static("x-next-cursor"), HeaderValue::from(last))]);
        (json, next, self.text).into_response()
    }
}

/// Takes all events away, oldest first, to where the log ended when it was asked.
///
/// The answer is a stream, of any length. If it breaks off, it is not whole: ask again. It breaks off, too, when the right
/// to it ends. In CSV a text that a spreadsheet would take for a formula has an apostrophe before it, and so has one that
/// begins with an apostrophe.
#[utoipa::path(
    get, path = "/audit/export", operation_id = "export_audit", tag = "audit", params(ExportEvents),
    responses(
        (status = 200, description = "The events: a line of names and a line each, or one `AuditEvent` a line.",
         content((String = "text/csv"), (String = "application/x-ndjson")),
         headers(("Content-Disposition" = String, description = "`attachment`, with the name of a file."))),
        Problems, CallerProblems
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn export(State(app): State<App>, mut caller: Caller, query: Query) -> Result<Response, Problem> {
    caller.must(Permission::Manage(Scope::AuditRead)).await?;
    let asked: ExportEvents = query.read()?;
    let format = asked.format.unwrap_or(Format::Ndjson);
    let export = ask(app.accounts.audit().export(asked.filter()?)).await?;
    let mut pages = Pages { caller, export, encoder: Encoder::new(format) };
    let date: String = app.accounts.now().to_string().chars().take(10).collect();
    let name = format!("attachment; filename=\"paddock-audit-{date}.{}\"", format.text());
    // With the first page in hand a failure is still a problem; later ones can only break the answer off.
    let first = pages.next().await?;
    let body = match first {
        None => Body::from(pages.encoder.take().map_err(|_| Problem::internal())?),
        Some(first) => {
            let rest = stream::try_unfold(pages, async |mut pages| match pages.next().await {
                Ok(page) => Ok(page.map(|page| (page, pages))),
                Err(_) => Err(io::Error::other("the export broke off")),
            });
            Body::from_stream(stream::once(future::ready(Ok(first))).chain(rest))
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (header::CONTENT_DISPOSITION, HeaderValue::try_from(name).map_err(|_| Problem::internal())?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}

/// An export under way: no connection to the database is held between two of its pages.
struct Pages {
    caller: Caller,
    export: AuditExport,
    encoder: Encoder,
}

impl Pages {
    /// The next page, if the caller may still have it: between two of them goes as much time as the client likes.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        self.caller.still().await?;
        let rows = ask(self.export.next_page(|row| self.encoder.push(row))).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let text = rows.into_iter().collect::<io::Result<()>>().and_then(|()| self.encoder.take());
        Ok(Some(text.map_err(|_| Problem::internal())?.into()))
    }
}
