//! The state of the audit log's chain.

use axum::{Json, extract::State};
use paddock_accounts::{Accounts, access::Permission, types::Scope};
use paddock_store::{
    audit::{ChainStatus, Head, VerifiedRow},
    clock::Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::NoQuery,
        openapi_problems::{CallerErrors, CommonErrors},
    },
};

/// The state of the chain, as the process that answers knows it.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditChain)]
pub(crate) struct ChainView {
    /// `verified`: every row up to the head is as it was written. `verifying`: the rows after
    /// `verified` are still to be checked; ask again. `broken`: `defect` says what is wrong.
    #[schema(example = "verified")]
    state: &'static str,
    /// The newest row.
    head: HeadView,
    /// The last row that was verified, with every row before it. Null: none yet.
    #[schema(required)]
    verified: Option<VerifiedView>,
    /// When the log was last verified from its beginning to its end, which happens daily. Null: not
    /// since this process started.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    complete_at: Option<Timestamp>,
    /// The first defect, in words. Null: none was found.
    #[schema(required)]
    defect: Option<String>,
}

/// A row of the chain.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditHead)]
struct HeadView {
    /// The id of the event; 0 before the first.
    position: i64,
    /// The hash of the event, which covers every event before it. Keep it outside of the database.
    hash: String,
}

/// A row of the chain that was verified.
#[derive(Serialize, ToSchema)]
#[schema(as = VerifiedAuditHead)]
struct VerifiedView {
    /// The id of the event.
    position: i64,
    /// The hash of the event.
    hash: String,
    /// When it was verified.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<(Head, ChainStatus)> for ChainView {
    fn from((head, status): (Head, ChainStatus)) -> Self {
        let is_complete = status.verified.as_ref().is_some_and(|verified| verified.head.position >= head.position);
        let state = match (&status.defect, is_complete) {
            (Some(_), _) => "broken",
            (None, true) => "verified",
            (None, false) => "verifying",
        };
        Self {
            state,
            head: HeadView { position: head.position, hash: head.hash },
            verified: status.verified.map(|VerifiedRow { head, at }| VerifiedView {
                position: head.position,
                hash: head.hash,
                at,
            }),
            complete_at: status.complete_at,
            defect: status.defect.map(|defect| defect.to_string()),
        }
    }
}

/// Shows how far the chain of audit events is verified, and its head.
///
/// The server verifies new events in the background, and the whole log daily. This operation returns
/// what is known, and hastens the next verification.
#[utoipa::path(
    get, path = "/audit/chain", operation_id = "show_audit_chain", tag = "audit",
    responses((status = 200, description = "The state of the chain.", body = ChainView), CommonErrors, CallerErrors),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn show(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    _: NoQuery,
) -> Result<Json<ChainView>, ApiError> {
    caller.require(Permission::Manage(Scope::AuditRead)).await?;
    Ok(Json(with_db_timeout(accounts.audit().chain_status()).await?.into()))
}
