//! Reads the audit log: in pages with the newest row first, or as an export with the oldest row
//! first.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{FromRow as _, QueryBuilder};

use super::{
    event::EventType,
    handle::AuditLog,
    row::{AuditRow, columns},
    verify,
};
use crate::{
    clock::Timestamp,
    db::like_pattern,
    error::Error,
    ids::{CredentialId, UserId},
    statements, with_conn,
};

/// How much the clocks of processes may differ. The index by time finds the range of ids for a time
/// range extended by this slack. The query then compares the time of each row in the range.
const CLOCK_SLACK: Duration = Duration::from_hours(24);
/// The number of rows that an export reads at once.
const PAGE_SIZE: u16 = 500;

statements! {
    FIRST_SINCE = "SELECT id FROM audit_logs WHERE occurred_at >= $1 ORDER BY occurred_at, id LIMIT 1";
    LAST_UNTIL = "SELECT id FROM audit_logs WHERE occurred_at < $1 ORDER BY occurred_at DESC, id DESC LIMIT 1";
}

/// Selects rows. Every field that is set must match.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// One of these event types; `None` means any type.
    pub event_types: Option<Vec<EventType>>,
    /// The user that the event is about.
    pub user_id: Option<UserId>,
    /// The credential that the event is about.
    pub credential_id: Option<CredentialId>,
    /// The actor, in the form of [`AuditRow::actor`].
    pub actor: Option<String>,
    /// One of these kinds of actor: the first word of [`AuditRow::actor`]. Empty: any kind.
    pub actor_kinds: Vec<&'static str>,
    /// A substring of the target, in any case.
    pub target: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The earliest time, inclusive.
    pub since: Option<Timestamp>,
    /// The latest time, exclusive.
    pub until: Option<Timestamp>,
    /// Only rows with a smaller id. Pass the last id of the previous page.
    pub before: Option<i64>,
}

/// A range of ids, with both bounds exclusive.
#[derive(Clone, Copy)]
struct Span(i64, i64);

/// An export of the log, oldest row first. It ends at the head that the log had when the export
/// began. It holds no connection between two pages.
pub struct AuditExport {
    log: AuditLog,
    filter: AuditFilter,
    span: Span,
}

impl AuditLog {
    /// Maps the matching rows, newest first. `map` gets each row as it arrives, so rows are not
    /// buffered.
    pub async fn list<S>(
        &self,
        filter: &AuditFilter,
        limit: u16,
        map: impl FnMut(&AuditRow<&str>) -> S,
    ) -> Result<Vec<S>, Error> {
        match self.span(filter, i64::MAX).await? {
            Some(span) => self.page(filter, span, " ORDER BY id DESC LIMIT ", limit, map).await,
            None => Ok(Vec::new()),
        }
    }

    /// Begins an export of the matching rows.
    pub async fn export(&self, filter: AuditFilter) -> Result<AuditExport, Error> {
        let end =
            verify::load_head(self.store().reader().await?.conn()).await?.map_or(i64::MAX, |head| head.position + 1);
        let span = self.span(&filter, end).await?.unwrap_or(Span(0, 0));
        Ok(AuditExport { log: self.clone(), filter, span })
    }

    /// Finds the ids to search; `None` if no row can match. A row whose time is wrong by more than
    /// [`CLOCK_SLACK`] may be missed.
    async fn span(&self, filter: &AuditFilter, below: i64) -> Result<Option<Span>, Error> {
        let mut span = Span(i64::MIN, filter.before.unwrap_or(i64::MAX).min(below));
        if filter.since.is_none() && filter.until.is_none() {
            return Ok(Some(span));
        }
        let mut reader = self.store().reader().await?;
        if let Some(since) = filter.since {
            let first: Option<i64> = with_conn!(reader.conn(), |c| sqlx::query_scalar(FIRST_SINCE)
                .bind(since - CLOCK_SLACK)
                .fetch_optional(c)
                .await?);
            let Some(first) = first else { return Ok(None) };
            span.0 = first.saturating_sub(1);
        }
        if let Some(until) = filter.until {
            let last: Option<i64> = with_conn!(reader.conn(), |c| sqlx::query_scalar(LAST_UNTIL)
                .bind(until + CLOCK_SLACK)
                .fetch_optional(c)
                .await?);
            let Some(last) = last else { return Ok(None) };
            span.1 = span.1.min(last.saturating_add(1));
        }
        Ok(Some(span))
    }

    async fn page<S>(
        &self,
        filter: &AuditFilter,
        span: Span,
        order: &'static str,
        limit: u16,
        mut map: impl FnMut(&AuditRow<&str>) -> S,
    ) -> Result<Vec<S>, Error> {
        let mut mapped = Vec::with_capacity(limit.into());
        let mut reader = self.store().reader().await?;
        /// Builds the statement for the engine of the connection.
        macro_rules! filtered {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > "));
                query.push_bind(span.0).push(" AND id < ").push_bind(span.1);
                if let Some(event_types) = &filter.event_types {
                    // One value is compared by `=`, for which the index by type keeps the order of ids.
                    match event_types.as_slice() {
                        [] => {
                            query.push(" AND 1 = 0");
                        }
                        [one] => {
                            query.push(" AND event_type = ").push_bind(one.text());
                        }
                        many => {
                            query.push(" AND event_type IN (");
                            let mut texts = query.separated(", ");
                            for event_type in many {
                                texts.push_bind(event_type.text());
                            }
                            query.push(")");
                        }
                    }
                }
                if let Some(user_id) = filter.user_id {
                    query.push(" AND user_id = ").push_bind(user_id);
                }
                if let Some(credential_id) = filter.credential_id {
                    query.push(" AND credential_id = ").push_bind(credential_id);
                }
                if let Some(actor) = &filter.actor {
                    query.push(" AND actor = ").push_bind(actor);
                }
                if !filter.actor_kinds.is_empty() {
                    query.push(" AND (1 = 0");
                    for kind in &filter.actor_kinds {
                        query.push(" OR actor = ").push_bind(*kind);
                        query.push(" OR actor LIKE ").push_bind(format!("{kind}:%"));
                    }
                    query.push(")");
                }
                if let Some(target) = filter.target.as_deref().map(like_pattern) {
                    query.push(" AND lower(target) LIKE lower(").push_bind(target).push(") ESCAPE '\\'");
                }
                if let Some(request_id) = &filter.request_id {
                    query.push(" AND request_id = ").push_bind(request_id);
                }
                // `IS TRUE` prevents the index by time, which would require sorting all matching
                // rows.
                if let Some(since) = filter.since {
                    query.push(" AND (occurred_at >= ").push_bind(since).push(") IS TRUE");
                }
                if let Some(until) = filter.until {
                    query.push(" AND (occurred_at < ").push_bind(until).push(") IS TRUE");
                }
                query.push(order).push_bind(i64::from(limit));
                let mut rows = query.build().fetch($conn);
                while let Some(row) = rows.try_next().await? {
                    mapped.push(map(&AuditRow::from_row(&row)?));
                }
            }};
        }
        with_conn!(reader.conn(), |c| filtered!(c));
        Ok(mapped)
    }
}

impl AuditExport {
    /// Maps the next page of rows. An empty page ends the export. On an error, `map` may have been
    /// called for some rows.
    pub async fn next_page<S>(&mut self, mut map: impl FnMut(&AuditRow<&str>) -> S) -> Result<Vec<S>, Error> {
        let mut last = self.span.0;
        let mapped = self
            .log
            .page(&self.filter, self.span, " ORDER BY id LIMIT ", PAGE_SIZE, |row| {
                last = row.id;
                map(row)
            })
            .await?;
        self.span.0 = last;
        Ok(mapped)
    }
}
