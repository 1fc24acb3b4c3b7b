//! Pulls: start, list, show, cancel.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use axum::{Json, extract::State, http::StatusCode};
use http::{HeaderName, HeaderValue, header};
use paddock_accounts::{PullJobId, Violation, access::Permission, types::Scope};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::view::PullView;
use crate::{
    auth::Caller,
    http::{
        error::{ApiError, Kind},
        extract::{Id, LazyBody, NoQuery, Query, deserialize::number},
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, NotFoundResponse},
    },
    models::Models,
    routes::schemas::{Listed, listed, page},
};

/// A model to pull.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPull)]
pub(crate) struct StartPull {
    /// The model's name, in any spelling that Ollama accepts. `MODEL_REGISTRIES` must list its
    /// registry.
    #[schema(min_length = 1, example = "smollm2:135m")]
    model: String,
}

/// Pulls a model into every backend.
///
/// The pull continues without the caller, and after a restart of the server. `MAX_PULLS` run at once;
/// further pulls wait in order. A second request for the same model joins the pull that is queued or
/// running.
#[utoipa::path(
    post, path = "/models/pull", operation_id = "start_pull", tag = "models", request_body = StartPull,
    responses(
        (status = 202, description = "The pull is queued.", body = PullView,
         headers(("Location" = String, description = "The path of the pull."))),
        (status = 200, description = "A pull of this model is queued or running already.", body = PullView,
         headers(("Location" = String, description = "The path of the pull."))),
        CommonErrors, CallerErrors, BodyErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn start(
    State(models): State<Models>,
    mut caller: Caller,
    _: NoQuery,
    body: LazyBody,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<PullView>), ApiError> {
    caller.require(Permission::Manage(Scope::ModelsWrite)).await?;
    let StartPull { model } = body.json(&mut caller).await?;
    let source = models.check_pull(&model);
    let source = source.map_err(|error| ApiError::invalid(vec![Violation::new("/model", error.to_string())]))?;
    let (pull, is_new) = models.start_pull(&caller.audit_context, caller.principal(), &source).await?;
    let location = format!("/models/pull/{}", pull.job.id);
    let location = HeaderValue::try_from(location).map_err(|_| ApiError::internal())?;
    let status = if is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], Json(pull.into())))
}

/// The page of a list of pulls.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPulls {
    /// The maximum number of pulls.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
    /// The number of pulls to skip.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    offset: Option<i64>,
}

/// Lists pulls, newest first.
///
/// A pull that has ended is listed for 7 days, and longer while it is among the last 100.
#[utoipa::path(
    get, path = "/models/pull", operation_id = "list_pulls", tag = "models", params(ListPulls),
    responses(
        (status = 200, description = "The pulls.", body = Vec<PullView>,
         headers(("X-Total-Count" = i64, description = "The number of pulls on all pages."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(models): State<Models>,
    mut caller: Caller,
    query: Query,
) -> Result<Listed<PullView>, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsRead)).await?;
    let ListPulls { limit, offset } = query.read()?;
    let (limit, offset) = page(limit, 200, 50, offset)?;
    Ok(listed(models.list_pulls(limit, offset).await?))
}

/// Shows a pull.
#[utoipa::path(
    get, path = "/models/pull/{id}", operation_id = "show_pull", tag = "models",
    params(("id" = i64, Path, description = "The pull's id.")),
    responses((status = 200, description = "The pull.", body = PullView), CommonErrors, CallerErrors, NotFoundResponse),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn show(
    State(models): State<Models>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<Json<PullView>, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsRead)).await?;
    let pull = models.find_pull(PullJobId(id)).await?;
    Ok(Json(pull.ok_or_else(|| no_pull(id))?.into()))
}

/// Cancels a pull.
///
/// Ollama stops within about a second, and keeps the received data for a later pull. A pull that has
/// ended stays as it is.
#[utoipa::path(
    delete, path = "/models/pull/{id}", operation_id = "cancel_pull", tag = "models",
    params(("id" = i64, Path, description = "The pull's id.")),
    responses((status = 204, description = "The pull has ended."), CommonErrors, CallerErrors, NotFoundResponse),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn cancel(
    State(models): State<Models>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsWrite)).await?;
    models.cancel_pull(&caller.audit_context, PullJobId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn no_pull(id: i64) -> ApiError {
    ApiError::new(Kind::NotFound, format!("pull {id} does not exist"))
}
