//! The routes `/ollama/*`: a simple way to ask a model, with the errors of the management API.

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, request::Parts};
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
pub(crate) async fn models(mut request: ModelRequest, _: NoQuery) -> Result<Json<Vec<String>>, ApiError> {
    request.caller.require(Permission::Use(Scope::ModelsRead)).await?;
    Ok(Json(request.forward()?.models().await?))
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
pub(crate) async fn chat(mut request: ModelRequest, _: NoQuery, body: LazyBody) -> Result<Response, ApiError> {
    request.caller.require(Permission::Use(Scope::Chat)).await?;
    let Chat { model, prompt, stream } = body.json(&mut request.caller).await?;
    check_model(&model)?;
    let response = request.forward()?.complete(&model, &prompt, stream).await?;
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
    mut request: ModelRequest,
    _: NoQuery,
    body: LazyBody,
) -> Result<Json<Embedding>, ApiError> {
    request.caller.require(Permission::Use(Scope::Embed)).await?;
    let Embeddings { model, input } = body.json(&mut request.caller).await?;
    check_model(&model)?;
    Ok(Json(Embedding { embedding: request.forward()?.embed(&model, &input).await? }))
}

/// Fails unless a text is a model's name.
fn check_model(model: &str) -> Result<(), ApiError> {
    match ModelName::parse(model) {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::invalid(vec![Violation::new("/model", error.to_string())])),
    }
}

/// A request that a model answers, without its body.
pub(crate) struct ModelRequest {
    app: App,
    caller: Caller,
    context: RequestContext,
    headers: HeaderMap,
    metrics: MetricsSlot,
}

impl FromRequestParts<App> for ModelRequest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        // The dispatcher inserts both into every request before routing.
        let context = parts.extensions.get::<RequestContext>().ok_or_else(ApiError::internal)?.clone();
        let metrics = parts.extensions.get::<MetricsSlot>().ok_or_else(ApiError::internal)?.clone();
        Ok(Self { app: app.clone(), caller, context, headers: parts.headers.clone(), metrics })
    }
}

impl ModelRequest {
    /// Returns the request for the gateway, which takes over its metrics.
    fn forward(&self) -> Result<CompatibleRequest<'_>, ApiError> {
        Ok(CompatibleRequest {
            gateway: &self.app.gateway,
            context: &self.context,
            headers: self.headers.clone(),
            caller: self.caller.request().clone(),
            metrics: self.metrics.take().ok_or_else(ApiError::internal)?.of_gateway(),
        })
    }
}
