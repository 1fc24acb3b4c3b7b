//! Liveness and readiness.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        error::{ApiError, Kind},
        problem_responses::NotReadyResponse,
    },
    readiness::Readiness,
};

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process is alive. It does not look at anything else.
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
    /// What is away without keeping the rest from serving: `ollama`, `cache` while changes of rights cannot be heard and
    /// every request asks the database, and `limits` while each process counts requests by itself that all should count
    /// together.
    #[schema(value_type = Vec<String>)]
    degraded: Vec<&'static str>,
}

/// Whether the process is ready for requests. 503 names what is missing: the database, or a shutdown that has begun.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses((status = 200, description = "The process is ready.", body = Ready), NotReadyResponse)
)]
pub(crate) async fn ready(State(readiness): State<Readiness>) -> Result<Json<Ready>, ApiError> {
    let report = readiness.report();
    if !report.is_ready() {
        return Err(ApiError::new(Kind::NotReady, format!("not ready: {}", report.missing.join(", "))));
    }
    Ok(Json(Ready { status: "ready", degraded: report.degraded }))
}
