//! Models: the list, the deletion, and one file for pulls and their events.

pub(super) mod events;
pub(super) mod pulls;
mod view;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use paddock_accounts::{Violation, access::Permission, types::Scope};
use paddock_ollama::ModelName;

use crate::{
    auth::Caller,
    http::{
        error::{ApiError, Kind},
        extract::NoQuery,
        openapi_problems::{CallerErrors, CommonErrors, ConflictResponse, NotFoundResponse, UpstreamErrors},
    },
    models::{DeletionError, Models},
};
use view::CatalogView;

/// Lists models with their state on every backend.
///
/// A backend that does not answer is marked as unreachable. What it has is not known then.
#[utoipa::path(
    get, path = "/models", operation_id = "list_models", tag = "models",
    responses((status = 200, description = "The backends and the models.", body = CatalogView), CommonErrors, CallerErrors),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(models): State<Models>,
    mut caller: Caller,
    _: NoQuery,
) -> Result<Json<CatalogView>, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsRead)).await?;
    Ok(Json(models.catalog().await?.into()))
}

/// Deletes a model from every backend.
///
/// A name may have slashes, escaped or not: `/models/team/m:1b` and `/models/team%2Fm:1b`. A model
/// that a Kubernetes object owns cannot be deleted: delete the object. If a backend fails, the model
/// may be deleted from others; the request can be repeated.
#[utoipa::path(
    delete, path = "/models/{*name}", operation_id = "delete_model", tag = "models",
    params(("name" = String, Path, description = "The model's name, in any spelling that Ollama accepts.")),
    responses(
        (status = 204, description = "No backend has the model."),
        CommonErrors, CallerErrors, NotFoundResponse, ConflictResponse, UpstreamErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn delete(
    State(models): State<Models>,
    mut caller: Caller,
    name: Result<Path<String>, PathRejection>,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsWrite)).await?;
    let invalid = |rule: String| ApiError::invalid(vec![Violation::new("{name}", rule)]);
    let Path(name) = name.map_err(|_| invalid("must be UTF-8".to_owned()))?;
    let model = ModelName::parse(&name).map_err(|error| invalid(error.to_string()))?;
    match models.delete(&caller.audit_context, model).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(DeletionError::Database(error)) => Err(error.into()),
        Err(error @ DeletionError::NotFound) => Err(ApiError::new(Kind::NotFound, error.to_string())),
        Err(error @ DeletionError::Unavailable) => {
            Err(ApiError::new(Kind::Unavailable, format!("{error}; nothing was changed")).retry_after_outage())
        }
        Err(error @ DeletionError::Failed(_)) => Err(ApiError::new(Kind::UpstreamFailed, error.to_string())),
    }
}
