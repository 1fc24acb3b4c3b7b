//! The export of all audit events as a stream.

use std::{io, mem};

use axum::{extract::State, response::Response};
use bytes::Bytes;
use paddock_accounts::{Accounts, access::Permission, types::Scope};
use paddock_store::audit::AuditExport;

use super::{encoder::AuditEncoder, filter::ExportEvents};
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
    let pages = Pages { caller, export, encoder: AuditEncoder::new(format), has_begun: false };
    export_response(pages, "audit", accounts.now(), format).await
}

struct Pages {
    caller: Caller,
    export: AuditExport,
    encoder: AuditEncoder,
    has_begun: bool,
}

impl ExportPages for Pages {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.caller.revalidate().await?;
        let rows = with_db_timeout(self.export.next_page(|row| self.encoder.push(row))).await?;
        // The first page has the header line even if there is no event.
        if rows.is_empty() && mem::replace(&mut self.has_begun, true) {
            return Ok(None);
        }
        self.has_begun = true;
        let text = rows.into_iter().collect::<io::Result<()>>().and_then(|()| self.encoder.take());
        Ok(Some(text.map_err(|_| ApiError::internal())?.into()))
    }
}
