//! Reads the audit log: newest first in pages, or oldest first as an export.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{FromRow as _, QueryBuilder};

use super::{
    log::AuditLog,
    row::{AuditRow, columns},
    verify,
};
use crate::{
    clock::Timestamp,
    error::Error,
    ids::{CredentialId, UserId},
    statements, with_conn,
};

/// How far the clocks of processes may differ. Within this slack, times follow the order of the chain,
/// so an index finds the rows of a time range; inside the range each row is compared.
const CLOCK_SLACK: Duration = Duration::from_hours(24);
/// How many rows of an export are in memory at once.
const PAGE_SIZE: u16 = 500;

statements! {
    FIRST_SINCE = "SELECT id FROM audit_logs WHERE occurred_at >= $1 ORDER BY occurred_at, id LIMIT 1";
    LAST_UNTIL = "SELECT id FROM audit_logs WHERE occurred_at < $1 ORDER BY occurred_at DESC, id DESC LIMIT 1";
}

/// Which rows to read.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only this type.
    pub event_type: Option<String>,
    /// Only about this user.
    pub user_id: Option<UserId>,
    /// Only about this credential.
    pub credential_id: Option<CredentialId>,
    /// Only what this one did, as [`AuditRow::actor`] has it.
    pub actor: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only rows with a smaller id: the last one of the page before.
    pub before: Option<i64>,
}

/// The ids between which rows are looked for: above the first and below the second.
#[derive(Clone, Copy)]
struct Span(i64, i64);

/// An export of the log, oldest row first, up to the head at its start. Holds no connection between pages.
pub struct AuditExport {
    log: AuditLog,
    filter: AuditFilter,
    span: Span,
}

impl AuditLog {
    /// Maps the matching rows, newest first. `see` gets each row as it arrives, so that none is stored.
    pub async fn list<S>(
        &self,
        filter: &AuditFilter,
        limit: u16,
        see: impl FnMut(&AuditRow<&str>) -> S,
    ) -> Result<Vec<S>, Error> {
        match self.span(filter, i64::MAX).await? {
            Some(span) => self.page(filter, span, " ORDER BY id DESC LIMIT ", limit, see).await,
            None => Ok(Vec::new()),
        }
    }

    /// Begins an export.
    pub async fn export(&self, filter: AuditFilter) -> Result<AuditExport, Error> {
        let end =
            verify::load_head(self.store().reader().await?.conn()).await?.map_or(i64::MAX, |head| head.position + 1);
        let span = self.span(&filter, end).await?.unwrap_or(Span(0, 0));
        Ok(AuditExport { log: self.clone(), filter, span })
    }

    /// The ids to search; `None` if no row can match. A row whose clock was a day wrong is not found by its time.
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
        mut see: impl FnMut(&AuditRow<&str>) -> S,
    ) -> Result<Vec<S>, Error> {
        let mut seen = Vec::with_capacity(limit.into());
        let mut reader = self.store().reader().await?;
        /// One statement, built for the engine of the connection.
        macro_rules! filtered {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > "));
                query.push_bind(span.0).push(" AND id < ").push_bind(span.1);
                if let Some(event_type) = &filter.event_type {
                    query.push(" AND event_type = ").push_bind(event_type);
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
                // IS TRUE keeps the engines from walking the rows in order of time, which would have all of them sorted.
                if let Some(since) = filter.since {
                    query.push(" AND (occurred_at >= ").push_bind(since).push(") IS TRUE");
                }
                if let Some(until) = filter.until {
                    query.push(" AND (occurred_at < ").push_bind(until).push(") IS TRUE");
                }
                query.push(order).push_bind(i64::from(limit));
                let mut rows = query.build().fetch($conn);
                while let Some(row) = rows.try_next().await? {
                    seen.push(see(&AuditRow::from_row(&row)?));
                }
            }};
        }
        with_conn!(reader.conn(), |c| filtered!(c));
        Ok(seen)
    }
}

impl AuditExport {
    /// Maps the next rows. An empty result ends the export. After an error, `see` got some of the rows.
    pub async fn next_page<S>(&mut self, mut see: impl FnMut(&AuditRow<&str>) -> S) -> Result<Vec<S>, Error> {
        let mut last = self.span.0;
        let seen = self
            .log
            .page(&self.filter, self.span, " ORDER BY id LIMIT ", PAGE_SIZE, |row| {
                last = row.id;
                see(row)
            })
            .await?;
        self.span.0 = last;
        Ok(seen)
    }
}
