//! The export of all totals that a filter selects, as a stream.

use std::io;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use paddock_accounts::{
    Accounts,
    access::Permission,
    types::Scope,
    usage::{GroupBy, UsageFilter, UsageTotals},
};

use super::{MAX_PAGE, query::ExportUsage, view::GroupView};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        export::{ExportFormat, ExportPages, export_response},
        extract::{Query, Revalidate},
        openapi_problems::{CallerErrors, CommonErrors},
    },
};

/// The columns of a table. Those by which the totals are not grouped are empty.
const COLUMNS: [&str; 11] = [
    "day",
    "hour",
    "user_id",
    "credential_id",
    "model",
    "requests",
    "failed",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "estimated",
];

/// Exports totals of usage: every row that the same filter of `GET /usage` selects.
///
/// The answer is a stream of any length. It breaks off if the export fails or the caller loses the
/// right to it; such an answer is not complete.
#[utoipa::path(
    get, path = "/usage/export", operation_id = "export_usage", tag = "usage", params(ExportUsage),
    responses(
        (status = 200, description = "The totals: a header line and a line for each row, or one `UsageGroup` per line.",
         content((String = "text/csv"), (String = "application/x-ndjson")),
         headers(("Content-Disposition" = String, description = "`attachment` with a file name."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn export(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require(Permission::See(Scope::UsageRead, caller.principal().user_id)).await?;
    let asked: ExportUsage = query.read()?;
    let (filter, group_by) = asked.resolve(&accounts, &mut caller).await?;
    let format = asked.format.unwrap_or(ExportFormat::Csv);
    let now = accounts.now();
    let pages = Pages { accounts, caller, filter, group_by, format, offset: 0, is_over: false };
    export_response(pages, "usage", now, format).await
}

struct Pages {
    accounts: Accounts,
    caller: Caller,
    filter: UsageFilter,
    group_by: GroupBy,
    format: ExportFormat,
    offset: u32,
    is_over: bool,
}

impl ExportPages for Pages {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.is_over {
            return Ok(None);
        }
        self.caller.revalidate().await?;
        let usage = self.accounts.usage();
        let (rows, _) = with_db_timeout(usage.totals(&self.filter, self.group_by, MAX_PAGE, self.offset)).await?;
        self.is_over = rows.len() < usize::from(MAX_PAGE);
        let text = match self.format {
            ExportFormat::Csv => table(&rows, self.offset == 0),
            ExportFormat::Ndjson => lines(rows),
        };
        self.offset = self.offset.saturating_add(MAX_PAGE.into());
        Ok(Some(text.map_err(|_| ApiError::internal())?.into()))
    }
}

fn table(rows: &[UsageTotals], with_header: bool) -> io::Result<Vec<u8>> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if with_header {
        table.write_record(COLUMNS)?;
    }
    for row in rows {
        let sums = &row.totals;
        let cell = |value: Option<String>| value.unwrap_or_default();
        table.write_record([
            cell(row.day.map(|day| day.to_string())),
            cell(row.hour.map(|hour| hour.to_string())),
            cell(row.user_id.map(|id| id.to_string())),
            // Sessions have no key.
            cell(row.credential_id.filter(|id| id.0 != 0).map(|id| id.to_string())),
            cell(row.model.clone()),
            sums.requests.to_string(),
            sums.failed.to_string(),
            sums.prompt_tokens.to_string(),
            sums.cached_prompt_tokens.to_string(),
            sums.completion_tokens.to_string(),
            sums.estimated.to_string(),
        ])?;
    }
    table.into_inner().map_err(csv::IntoInnerError::into_error)
}

fn lines(rows: Vec<UsageTotals>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, &GroupView::from(row))?;
        text.push(b'\n');
    }
    Ok(text)
}
