//! The routes `/ollama/*` of the management API. Each request is translated into a request of the
//! native API, which takes the same steps as every native request.

use axum::{body::to_bytes, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use paddock_accounts::{access::Permission, types::Scope};
use paddock_ollama::{Endpoint, Lookup, lookup};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Gateway,
    error::gateway_error,
    forward::forward,
    pipeline::{GatewayRequest, RequestBody, record_denial},
};
use crate::{
    auth::AuthenticatedRequest,
    http::{
        error::{ApiError, Kind},
        request_context::RequestContext,
        request_metrics::RequestMetrics,
    },
};

/// The largest response that is translated, in bytes.
const MAX_RESPONSE: usize = 32 << 20;

/// A request of the management API that a model answers.
pub(crate) struct CompatibleRequest<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) context: &'a RequestContext,
    pub(crate) headers: HeaderMap,
    pub(crate) caller: AuthenticatedRequest,
    /// The metrics of the request. They count it as a gateway request.
    pub(crate) metrics: RequestMetrics,
}

impl CompatibleRequest<'_> {
    /// Returns the names of the models that the caller may use.
    pub(crate) async fn models(self) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct Tags {
            models: Vec<Tag>,
        }
        #[derive(Deserialize)]
        struct Tag {
            name: String,
        }
        let endpoint = endpoint(&Method::GET, "/api/tags")?;
        let started = self.metrics.started();
        let request = GatewayRequest { gateway: self.gateway, endpoint, context: self.context, started };
        let listed = async {
            let response = request.short().list(self.headers, self.caller.principal()).await?;
            read::<Tags>(response).await
        };
        match listed.await {
            Ok(tags) => {
                self.metrics.complete(StatusCode::OK);
                Ok(tags.models.into_iter().map(|tag| tag.name).collect())
            }
            Err(error) => {
                self.metrics.refuse(&error);
                Err(error)
            }
        }
    }

    /// Completes a prompt. Returns Ollama's response: a stream, or one object.
    pub(crate) async fn complete(self, model: &str, prompt: &str, stream: bool) -> Result<Response, ApiError> {
        let body = json!({"model": model, "prompt": prompt, "stream": stream});
        let response = self.run("/api/generate", &body, Permission::Use(Scope::Chat)).await?;
        if response.status().is_success() { Ok(response) } else { Err(failure(response).await) }
    }

    /// Embeds a text.
    pub(crate) async fn embed(self, model: &str, input: &str) -> Result<Vec<Value>, ApiError> {
        #[derive(Deserialize)]
        struct Embedded {
            embeddings: Vec<Vec<Value>>,
        }
        let body = json!({"model": model, "input": input});
        let response = self.run("/api/embed", &body, Permission::Use(Scope::Embed)).await?;
        let embedded: Embedded = read(response).await?;
        Ok(embedded.embeddings.into_iter().next().unwrap_or_default())
    }

    async fn run(self, path: &'static str, body: &Value, permission: Permission) -> Result<Response, ApiError> {
        let endpoint = endpoint(&Method::POST, path)?;
        let Self { gateway, context, headers, caller, metrics } = self;
        let started = metrics.started();
        let request = GatewayRequest { gateway, endpoint, context, started };
        let body = Bytes::from(body.to_string());
        let (user_agent, principal) = (headers.get(header::USER_AGENT).cloned(), caller.principal().clone());
        let body = RequestBody { bytes: body, memory: gateway.body_memory.begin(principal.user_id) };
        match request.admit(headers, body, caller, permission).await {
            Ok(admitted) => forward(gateway, endpoint, context, started, admitted, metrics).await,
            Err(error) => {
                if error.status() == StatusCode::FORBIDDEN {
                    let target = format!("POST {}", context.route.label());
                    record_denial(gateway, context, user_agent.as_ref(), &principal, &target, &error).await;
                }
                metrics.refuse(&error);
                Err(error)
            }
        }
    }
}

/// Reads the fields of a response that is one object.
pub(crate) async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    if !response.status().is_success() {
        return Err(failure(response).await);
    }
    let malformed = || gateway_error(Kind::UpstreamFailed, "upstream_failed", "Ollama failed");
    let body = to_bytes(response.into_body(), MAX_RESPONSE).await.map_err(|_| malformed())?;
    serde_json::from_slice(&body).map_err(|error| {
        tracing::error!(%error, "cannot parse the response of Ollama");
        malformed()
    })
}

/// Returns the error for a response with an error status.
async fn failure(response: Response) -> ApiError {
    #[derive(Deserialize)]
    struct OllamaError {
        error: String,
    }
    let is_refusal = response.status().is_client_error();
    let body = to_bytes(response.into_body(), MAX_RESPONSE).await.unwrap_or_default();
    let text = serde_json::from_slice::<OllamaError>(&body).map(|body| body.error);
    match text {
        Ok(text) if is_refusal => {
            gateway_error(Kind::Malformed, "upstream_refused", format!("Ollama refused the request: {text}"))
        }
        _ => gateway_error(Kind::UpstreamFailed, "upstream_failed", "Ollama failed"),
    }
}

fn endpoint(method: &Method, path: &str) -> Result<&'static Endpoint, ApiError> {
    match lookup(method, path) {
        Lookup::Served(endpoint) => Ok(endpoint),
        Lookup::Rejected(_) | Lookup::NotOllama => Err(ApiError::internal().with_code("no_endpoint")),
    }
}
