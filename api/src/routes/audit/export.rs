//! The export of all audit events as a stream.

use std::io;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::{HeaderValue, header};
use paddock_accounts::{Accounts, access::Permission, types::Scope};
use paddock_store::audit::AuditExport;

use super::{
    encoder::{AuditEncoder, ExportFormat},
    filter::ExportEvents,
};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Query, Revalidate},
        openapi_problems::{CallerErrors, CommonErrors},
    },
};

/// Exports all audit events, oldest first, up to the newest one at the time of the request.
///
/// The answer is a stream of any length. It breaks off if the export fails or the caller loses the
/// right to it; such an answer is not complete. In CSV, a text that a spreadsheet would take for a
/// formula, or that begins with an apostrophe, gets an apostrophe in front.
#[utoipa::path(
    get, path = "/audit/export", operation_id = "export_audit", tag = "audit", params(ExportEvents),
    responses(
        (status = 200, description = "The events: a header line and a line for each event, or one `AuditEvent` per line.",
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
    caller.require(Permission::Manage(Scope::AuditRead)).await?;
    let asked: ExportEvents = query.read()?;
    let format = asked.format.unwrap_or(ExportFormat::Ndjson);
    let export = with_db_timeout(accounts.audit().export(asked.filter()?)).await?;
    let mut pages = Pages { caller, export, encoder: AuditEncoder::new(format) };
    let date: String = accounts.now().to_string().chars().take(10).collect();
    let name = format!("attachment; filename=\"paddock-audit-{date}.{}\"", format.text());
    // A failure of the first page is an error. A later failure can only break the response off.
    let first = pages.next().await?;
    let body = match first {
        None => Body::from(pages.encoder.take().map_err(|_| ApiError::internal())?),
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
        (header::CONTENT_DISPOSITION, HeaderValue::try_from(name).map_err(|_| ApiError::internal())?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}

/// An export in progress. It holds no database connection between two pages.
struct Pages {
    caller: Caller,
    export: AuditExport,
    encoder: AuditEncoder,
}

impl Pages {
    /// Returns the next page. The client may read slowly, so the caller is re-authenticated before
    /// each page.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.caller.revalidate().await?;
        let rows = with_db_timeout(self.export.next_page(|row| self.encoder.push(row))).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let text = rows.into_iter().collect::<io::Result<()>>().and_then(|()| self.encoder.take());
        Ok(Some(text.map_err(|_| ApiError::internal())?.into()))
    }
}
