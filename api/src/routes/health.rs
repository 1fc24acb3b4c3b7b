//! Liveness and readiness.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        error::{ApiError, Kind},
        openapi_problems::NotReadyResponse,
    },
    readiness::{BackendProblem, Readiness},
};

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Reports that the process is alive.
///
/// It does not check the database or Ollama.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "health",
    responses((status = 200, description = "The process is alive.", body = Alive))
)]
pub(crate) async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// The process can do its work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The unavailable parts without which the process still serves: `ollama`; `cache` while
    /// changes of rights cannot be received and every request asks the database; `limits` while
    /// each process counts requests alone although they should be shared.
    #[schema(value_type = Vec<String>)]
    degraded: Vec<&'static str>,
    /// The backends that are not used.
    backends: Vec<BackendProblem>,
}

/// Reports whether the process is ready for requests.
///
/// The detail of a 503 names the cause: the database, its schema, or a shutdown.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses((status = 200, description = "The process is ready.", body = Ready), NotReadyResponse)
)]
pub(crate) async fn ready(State(readiness): State<Readiness>) -> Result<Json<Ready>, ApiError> {
    let report = readiness.report();
    if !report.is_ready() {
        return Err(ApiError::new(Kind::NotReady, format!("not ready: {}", report.missing.join(", "))));
    }
    Ok(Json(Ready { status: "ready", degraded: report.degraded, backends: report.backends }))
}
