//! The route table in front of Ollama: the paths that the gateway serves, the scope that each
//! needs, and the error for every other path.
//!
//! Every path that is not in the table is rejected. Paths are compared byte for byte, without
//! decoding or trimming, so that Ollama cannot route a request to another endpoint than the one
//! authorized here.

use http::{Method, StatusCode};

use crate::{
    dialect::{Dialect, dialect_of},
    path::is_below,
    request::known_fields::{self, KnownFields},
};

/// The function of an endpoint, independent of its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reports that the server runs.
    Root,
    /// Returns Ollama's version.
    Version,
    /// Lists the models. The gateway filters the list to the models that the caller may use.
    ListModels,
    /// Answers a conversation.
    Chat,
    /// Completes a prompt.
    Generate,
    /// Computes embeddings of texts.
    Embed,
}

/// The permission that a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No credential is required.
    Public,
    /// Any valid credential is sufficient, with any scopes.
    Authenticated,
    /// The credential must have this scope.
    Scope(&'static str),
}

/// A route that the gateway serves.
#[derive(Debug)]
pub struct Endpoint {
    /// The method. An endpoint for GET also serves HEAD.
    pub method: Method,
    /// The complete path. It is sent upstream, and labels metrics and usage records.
    pub path: &'static str,
    /// The required permission.
    pub access: Access,
    /// The dialect of its errors.
    pub dialect: Dialect,
    /// Its function.
    pub operation: Operation,
    /// The fields that Ollama reads in its request body, or `None` if it takes no JSON body.
    pub known_fields: Option<&'static KnownFields>,
}

impl Endpoint {
    /// Returns whether the answer is a stream. `requested` is the request's own `stream` field.
    ///
    /// Without that field the native API streams and the OpenAI API does not.
    #[must_use]
    pub fn is_streaming(&self, requested: Option<bool>) -> bool {
        match self.operation {
            Operation::Chat | Operation::Generate => requested.unwrap_or(self.dialect == Dialect::Ollama),
            Operation::Root | Operation::Version | Operation::ListModels | Operation::Embed => false,
        }
    }
}

const fn get(path: &'static str, access: Access, dialect: Dialect, operation: Operation) -> Endpoint {
    Endpoint { method: Method::GET, path, access, dialect, operation, known_fields: None }
}

const fn post(
    path: &'static str,
    scope: &'static str,
    dialect: Dialect,
    operation: Operation,
    known_fields: &'static KnownFields,
) -> Endpoint {
    let known_fields = Some(known_fields);
    Endpoint { method: Method::POST, path, access: Access::Scope(scope), dialect, operation, known_fields }
}

/// All routes that the gateway serves.
pub static ENDPOINTS: &[Endpoint] = &[
    get("/", Access::Public, Dialect::Ollama, Operation::Root),
    get("/api/version", Access::Authenticated, Dialect::Ollama, Operation::Version),
    get("/api/tags", Access::Scope("models:read"), Dialect::Ollama, Operation::ListModels),
    get("/v1/models", Access::Scope("models:read"), Dialect::OpenAi, Operation::ListModels),
    post("/api/chat", "chat", Dialect::Ollama, Operation::Chat, &known_fields::CHAT),
    post("/api/generate", "generate", Dialect::Ollama, Operation::Generate, &known_fields::GENERATE),
    post("/api/embed", "embed", Dialect::Ollama, Operation::Embed, &known_fields::EMBED),
    post("/v1/chat/completions", "chat", Dialect::OpenAi, Operation::Chat, &known_fields::OPENAI_CHAT),
];

/// Paths that are rejected with 403 for every method and caller, because they change state that all
/// callers share or send data out of Ollama.
const FORBIDDEN_PATHS: &[&str] = &["/api/push", "/api/create", "/api/copy", "/api/blobs"];

/// The result of a lookup in the route table.
#[derive(Debug)]
pub enum Lookup {
    /// The gateway serves this endpoint.
    Served(&'static Endpoint),
    /// The path belongs to Ollama's API, and the request is rejected.
    Rejected(RouteError),
    /// The path is outside Ollama's API, which is `/`, `/api` and `/v1`.
    NotOllama,
}

/// Why the route table rejects a request, and the parts of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteError {
    /// The answer's status: 403, 404 or 405.
    pub status: StatusCode,
    /// The message for the client.
    pub reason: &'static str,
    /// The dialect of the answer.
    pub dialect: Dialect,
    /// The value of the `Allow` header of a 405.
    pub allow: Option<&'static str>,
    /// The forbidden path of a 403: the request's path or a parent of it.
    pub forbidden_path: Option<&'static str>,
}

/// Finds the endpoint of a request. `path` is the raw path of the request target, without the
/// query.
#[must_use]
pub fn lookup(method: &Method, path: &str) -> Lookup {
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) {
        let is_allowed = endpoint.method == *method || (endpoint.method == Method::GET && *method == Method::HEAD);
        if is_allowed {
            return Lookup::Served(endpoint);
        }
        return Lookup::Rejected(RouteError {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "this path does not take this method",
            dialect: endpoint.dialect,
            allow: Some(if endpoint.method == Method::GET { "GET, HEAD" } else { "POST" }),
            forbidden_path: None,
        });
    }
    let Some(dialect) = dialect_of(path) else {
        return Lookup::NotOllama;
    };
    let forbidden_path = FORBIDDEN_PATHS.iter().copied().find(|forbidden| is_below(path, forbidden));
    let (status, reason) = match forbidden_path {
        Some(_) => (StatusCode::FORBIDDEN, "this part of Ollama's API is closed here"),
        None => (StatusCode::NOT_FOUND, "this path is not served here"),
    };
    Lookup::Rejected(RouteError { status, reason, dialect, allow: None, forbidden_path })
}

#[cfg(test)]
mod tests;
