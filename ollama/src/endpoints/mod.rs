//! The one route table in front of Ollama: what is served, with which scope, and what everything else is told.
//!
//! It denies by default. A path is compared byte for byte, without decoding or trimming, so that what was looked up here
//! is what Ollama will route.

use http::{Method, StatusCode};

use crate::dialect::{Dialect, dialect_of};
use crate::keys::{self, KnownKeys};

/// What an endpoint does, whichever dialect it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Says that the server is there.
    Root,
    /// Ollama's version.
    Version,
    /// Lists the models; the answer is filtered to what the caller may use.
    ListModels,
    /// Answers a conversation.
    Chat,
    /// Completes a prompt.
    Generate,
    /// Embeds texts.
    Embed,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody need sign in.
    Anyone,
    /// Whoever is signed in, with whatever scopes.
    SignedIn,
    /// Who has this scope.
    Scope(&'static str),
}

/// A route that is served.
#[derive(Debug)]
pub struct Endpoint {
    /// The method; an endpoint of GET answers HEAD too.
    pub method: Method,
    /// The whole path. It is what is sent upstream, and the label in metrics and usage.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// How its errors are written.
    pub dialect: Dialect,
    /// What it does.
    pub operation: Operation,
    /// The keys its request may carry, for those that take a JSON body.
    pub keys: Option<&'static KnownKeys>,
}

impl Endpoint {
    /// Whether the answer comes as a stream, given the request's own `stream`: the native API streams unless told not to,
    /// the OpenAI one only when told to.
    #[must_use]
    pub fn streams(&self, asked: Option<bool>) -> bool {
        match self.operation {
            Operation::Chat | Operation::Generate => asked.unwrap_or(self.dialect == Dialect::Ollama),
            Operation::Root | Operation::Version | Operation::ListModels | Operation::Embed => false,
        }
    }
}

const fn get(path: &'static str, access: Access, dialect: Dialect, operation: Operation) -> Endpoint {
    Endpoint { method: Method::GET, path, access, dialect, operation, keys: None }
}

const fn post(
    path: &'static str,
    scope: &'static str,
    dialect: Dialect,
    operation: Operation,
    keys: &'static KnownKeys,
) -> Endpoint {
    Endpoint { method: Method::POST, path, access: Access::Scope(scope), dialect, operation, keys: Some(keys) }
}

/// Every route that is served.
pub static ENDPOINTS: &[Endpoint] = &[
    get("/", Access::Anyone, Dialect::Ollama, Operation::Root),
    get("/api/version", Access::SignedIn, Dialect::Ollama, Operation::Version),
    get("/api/tags", Access::Scope("models:read"), Dialect::Ollama, Operation::ListModels),
    get("/v1/models", Access::Scope("models:read"), Dialect::OpenAi, Operation::ListModels),
    post("/api/chat", "chat", Dialect::Ollama, Operation::Chat, &keys::CHAT),
    post("/api/generate", "generate", Dialect::Ollama, Operation::Generate, &keys::GENERATE),
    post("/api/embed", "embed", Dialect::Ollama, Operation::Embed, &keys::EMBED),
    post("/v1/chat/completions", "chat", Dialect::OpenAi, Operation::Chat, &keys::OPENAI_CHAT),
];

/// Paths that change what all callers share, or reach past Ollama: refused to everybody, whatever the method.
const FORBIDDEN: &[&str] = &["/api/push", "/api/create", "/api/copy", "/api/blobs"];

/// What the table says of a request.
#[derive(Debug)]
pub enum Lookup {
    /// Served.
    Served(&'static Endpoint),
    /// In Ollama's part of the address space, and refused.
    Refused(Refusal),
    /// Not a path of Ollama's: `/`, `/api` and `/v1` are.
    Foreign,
}

/// Why and how a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// 403, 404 or 405.
    pub status: StatusCode,
    /// One sentence for the client.
    pub reason: &'static str,
    /// How to write it.
    pub dialect: Dialect,
    /// The value of the `Allow` header, with 405.
    pub allow: Option<&'static str>,
    /// With 403, the closed part of the API that the path is in, or is below.
    pub closed: Option<&'static str>,
}

/// Looks a request up. `path` is the raw path of the request's target, without its query.
#[must_use]
pub fn lookup(method: &Method, path: &str) -> Lookup {
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) {
        let fits = endpoint.method == *method || (endpoint.method == Method::GET && *method == Method::HEAD);
        if fits {
            return Lookup::Served(endpoint);
        }
        return Lookup::Refused(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "this path does not take this method",
            dialect: endpoint.dialect,
            allow: Some(if endpoint.method == Method::GET { "GET, HEAD" } else { "POST" }),
            closed: None,
        });
    }
    let Some(dialect) = dialect_of(path) else {
        return Lookup::Foreign;
    };
    let closed = FORBIDDEN.iter().copied().find(|forbidden| is_below(path, forbidden));
    let (status, reason) = match closed {
        Some(_) => (StatusCode::FORBIDDEN, "this part of Ollama's API is closed here"),
        None => (StatusCode::NOT_FOUND, "this path is not served here"),
    };
    Lookup::Refused(Refusal { status, reason, dialect, allow: None, closed })
}

/// Whether `path` is `parent` or lies below it.
pub(crate) fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
