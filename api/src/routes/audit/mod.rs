//! The audit log: the list of events, and their export.

pub(super) mod chain;
mod encoder;
pub(super) mod export;
mod filter;
mod view;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, header};
use paddock_accounts::{Accounts, access::Permission, types::Scope};
use paddock_store::audit::{AuditFilter, AuditRow};

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Query, within},
        openapi_problems::{CallerErrors, CommonErrors},
    },
};
pub use encoder::AuditEncoder;
use filter::ListEvents;
use view::AuditView;

/// Lists audit events, newest first.
///
/// The total is not counted. Follow the cursor to the last page.
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "audit", params(ListEvents),
    responses(
        (status = 200, description = "The events.", body = Vec<AuditView>,
         headers(("X-Next-Cursor" = i64, description = "The `cursor` of the next page. Absent on the last page."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::AuditRead)).await?;
    let asked: ListEvents = query.read()?;
    let limit = within("?limit", asked.limit.unwrap_or(100), 1, 500)?;
    let filter = AuditFilter { before: asked.cursor, ..asked.filter()? };
    let limit = u16::try_from(limit).unwrap_or(u16::MAX);
    let mut page = Page::new(limit);
    let rows = with_db_timeout(accounts.audit().list(&filter, limit + 1, |row| page.push(row))).await?;
    rows.into_iter().collect::<serde_json::Result<()>>().map_err(|_| ApiError::internal())?;
    Ok(page.into_response())
}

/// A page of events, encoded row by row as the database returns them.
struct Page {
    text: Vec<u8>,
    /// How many more events fit.
    left: u16,
    last: Option<i64>,
    /// Whether the log has more events than fit.
    has_more: bool,
}

impl Page {
    /// The approximate size of an event, in bytes.
    const EVENT_SIZE: usize = 640;

    fn new(limit: u16) -> Self {
        Self { text: vec![b'['], left: limit, last: None, has_more: false }
    }

    fn push(&mut self, row: &AuditRow<&str>) -> serde_json::Result<()> {
        if self.left == 0 {
            self.has_more = true;
            return Ok(());
        }
        match self.last.replace(row.id) {
            None => self.text.reserve(usize::from(self.left) * Self::EVENT_SIZE),
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
        let next = self.last.filter(|_| self.has_more);
        let next = next.map(|last| [(HeaderName::from_static("x-next-cursor"), HeaderValue::from(last))]);
        (json, next, self.text).into_response()
    }
}
