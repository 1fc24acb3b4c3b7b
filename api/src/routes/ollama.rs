//! The routes `/ollama/*`: a simple way to ask a model, with the errors of the management API.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use paddock_accounts::{Violation, access::Permission, types::Scope};
use paddock_ollama::ModelName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::Caller,
    gateway::compatible::{self, CompatibleRequest},
    http::{
        error::ApiError,
        extract::{LazyBody, NoQuery},
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, NotFoundResponse, OllamaErrors},
        request_context::RequestContext,
        request_metrics::MetricsSlot,
    },
};

/// A prompt for a model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chat {
    /// The model's name.
    #[schema(min_length = 1, example = "smollm2:135m")]
    model: String,
    /// The prompt.
    prompt: String,
    /// Whether the answer is a stream.
    #[serde(default)]
    stream: bool,
}

/// The answer of a model.
#[derive(Deserialize, Serialize, ToSchema)]
pub(crate) struct ChatAnswer {
    /// The text.
    response: String,
}

/// A text for an embedding model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embeddings {
    /// The model's name.
    #[schema(min_length = 1, example = "all-minilm:l6")]
    model: String,
    /// The text.
    input: String,
}

/// The embedding of a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct Embedding {
    /// The vector.
    #[schema(value_type = Vec<f64>)]
    embedding: Vec<Value>,
}

/// Lists the names of the models that the caller may use.
#[utoipa::path(
    get, path = "/ollama/models", operation_id = "list_model_names", tag = "ollama",
    responses(
        (status = 200, description = "The names.", body = Vec<String>),
        CommonErrors, CallerErrors, OllamaErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn models(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Extension(metrics): Extension<MetricsSlot>,
    mut caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Json<Vec<String>>, ApiError> {
    caller.require(Permission::Use(Scope::ModelsRead)).await?;
    let request = compatible_request(&app, &context, &metrics, headers, caller)?;
    Ok(Json(request.models().await?))
}

/// Asks a model.
///
/// With `stream`, the answer is a stream of JSON objects, one on each line, as Ollama sends it.
#[utoipa::path(
    post, path = "/ollama/chat", operation_id = "ask_model", tag = "ollama", request_body = Chat,
    responses(
        (status = 200, description = "The answer.", content(
            (ChatAnswer = "application/json"), (String = "application/x-ndjson")
        )),
        CommonErrors, CallerErrors, BodyErrors, NotFoundResponse, OllamaErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn chat(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Extension(metrics): Extension<MetricsSlot>,
    mut caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: LazyBody,
) -> Result<Response, ApiError> {
    caller.require(Permission::Use(Scope::Chat)).await?;
    let Chat { model, prompt, stream } = body.json(&mut caller).await?;
    check_model(&model)?;
    let request = compatible_request(&app, &context, &metrics, headers, caller)?;
    let response = request.complete(&model, &prompt, stream).await?;
    if stream {
        return Ok(response);
    }
    Ok(Json(compatible::read::<ChatAnswer>(response).await?).into_response())
}

/// Embeds a text.
#[utoipa::path(
    post, path = "/ollama/embeddings", operation_id = "embed_text", tag = "ollama", request_body = Embeddings,
    responses(
        (status = 200, description = "The embedding.", body = Embedding),
        CommonErrors, CallerErrors, BodyErrors, NotFoundResponse, OllamaErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn embeddings(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Extension(metrics): Extension<MetricsSlot>,
    mut caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: LazyBody,
) -> Result<Json<Embedding>, ApiError> {
    caller.require(Permission::Use(Scope::Embed)).await?;
    let Embeddings { model, input } = body.json(&mut caller).await?;
    check_model(&model)?;
    let request = compatible_request(&app, &context, &metrics, headers, caller)?;
    Ok(Json(Embedding { embedding: request.embed(&model, &input).await? }))
}

/// Fails unless a text is a model's name.
fn check_model(model: &str) -> Result<(), ApiError> {
    match ModelName::parse(model) {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::invalid(vec![Violation::new("/model", error.to_string())])),
    }
}

fn compatible_request<'a>(
    app: &'a App,
    context: &'a RequestContext,
    metrics: &MetricsSlot,
    headers: HeaderMap,
    caller: Caller,
) -> Result<CompatibleRequest<'a>, ApiError> {
    let metrics = metrics.take().ok_or_else(ApiError::internal)?.of_gateway();
    Ok(CompatibleRequest { gateway: &app.gateway, context, headers, caller: caller.into_request(), metrics })
}
