//! How the log is read: in pages, newest first to look at, oldest first to take away.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{FromRow as _, QueryBuilder};

use super::{AuditRow, columns, verify};
use crate::{
    Accounts,
    clock::Time,
    credentials::CredentialId,
    error::Error,
    store::{on, statements},
    users::UserId,
};

/// How far the clocks of processes may be apart. Times follow the order of the chain as well as these clocks agree, and
/// that is what a span of time is found by quickly: within it, rows are compared one by one.
const CLOCKS_APART: Duration = Duration::from_hours(24);
/// How many rows of an export are in memory at once.
const PAGE: u16 = 500;

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
    pub since: Option<Time>,
    /// Before.
    pub until: Option<Time>,
    /// Only rows with a smaller id: the last one of the page before.
    pub before: Option<i64>,
}

/// The ids between which rows are looked for: above the first and below the second.
#[derive(Clone, Copy)]
struct Span(i64, i64);

/// A log being taken away, oldest row first, to where it ended when that began. Holds no connection between two pages.
pub struct AuditExport {
    accounts: Accounts,
    filter: AuditFilter,
    span: Span,
}

impl Accounts {
    /// What `see` makes of rows, newest first. It sees each as it comes, so that none has to be kept.
    pub async fn audit<S>(
        &self,
        filter: &AuditFilter,
        limit: u16,
        see: impl FnMut(&AuditRow<&str>) -> S,
    ) -> Result<Vec<S>, Error> {
        match self.span(filter, i64::MAX).await? {
            Some(span) => self.audit_page(filter, span, " ORDER BY id DESC LIMIT ", limit, see).await,
            None => Ok(Vec::new()),
        }
    }

    /// Begins to take rows away.
    pub async fn export_audit(&self, filter: AuditFilter) -> Result<AuditExport, Error> {
        let end = verify::head(self.reader().await?.conn()).await?.map_or(i64::MAX, |head| head.position + 1);
        let span = self.span(&filter, end).await?.unwrap_or(Span(0, 0));
        Ok(AuditExport { accounts: self.clone(), filter, span })
    }

    /// Where to look; `None` where nothing can be. Rows whose clock was a day wrong are not found by their time.
    async fn span(&self, filter: &AuditFilter, below: i64) -> Result<Option<Span>, Error> {
        let mut span = Span(i64::MIN, filter.before.unwrap_or(i64::MAX).min(below));
        if filter.since.is_none() && filter.until.is_none() {
            return Ok(Some(span));
        }
        let mut reader = self.reader().await?;
        if let Some(since) = filter.since {
            let first: Option<i64> = on!(reader.conn(), |c| sqlx::query_scalar(FIRST_SINCE)
                .bind(since - CLOCKS_APART)
                .fetch_optional(c)
                .await?);
            let Some(first) = first else { return Ok(None) };
            span.0 = first.saturating_sub(1);
        }
        if let Some(until) = filter.until {
            let last: Option<i64> = on!(reader.conn(), |c| sqlx::query_scalar(LAST_UNTIL)
                .bind(until + CLOCKS_APART)
                .fetch_optional(c)
                .await?);
            let Some(last) = last else { return Ok(None) };
            span.1 = span.1.min(last.saturating_add(1));
        }
        Ok(Some(span))
    }

    async fn audit_page<S>(
        &self,
        filter: &AuditFilter,
        span: Span,
        order: &'static str,
        limit: u16,
        mut see: impl FnMut(&AuditRow<&str>) -> S,
    ) -> Result<Vec<S>, Error> {
        let mut seen = Vec::with_capacity(limit.into());
        let mut reader = self.reader().await?;
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
        on!(reader.conn(), |c| filtered!(c));
        Ok(seen)
    }
}

impl AuditExport {
    /// What `see` makes of the next rows; none are left when there are none. After an error it has seen some of them.
    pub async fn next_page<S>(&mut self, mut see: impl FnMut(&AuditRow<&str>) -> S) -> Result<Vec<S>, Error> {
        let mut last = self.span.0;
        let seen = self
            .accounts
            .audit_page(&self.filter, self.span, " ORDER BY id LIMIT ", PAGE, |row| {
                last = row.id;
                see(row)
            })
            .await?;
        self.span.0 = last;
        Ok(seen)
    }
}
