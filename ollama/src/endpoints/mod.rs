//! The route table in front of Ollama: the paths that the gateway serves, the scope that each
//! needs, and the error for every other path.
//!
//! Every path that is not in the table is rejected. Paths are compared byte for byte, without
//! decoding or trimming, so that Ollama cannot route a request to another endpoint than the one
//! authorized here.

mod rejection;
mod table;

use http::Method;

pub use rejection::{FORBIDDEN_PATHS, RouteError, RouteErrorKind, UNSERVED_PATHS};
pub use table::ENDPOINTS;

use crate::{
    dialect::{Dialect, dialect_of},
    request::known_fields::KnownFields,
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
    /// Lists the models in memory. The gateway filters the list in the same way.
    ListLoaded,
    /// Describes the model in the path.
    RetrieveModel,
    /// Describes the model in the body.
    ShowModel,
    /// Answers a conversation.
    Chat,
    /// Completes a prompt.
    Generate,
    /// Computes embeddings of texts.
    Embed,
    /// Shortens the history of a conversation, with the model of the conversation.
    Compact,
    /// Counts the tokens of a conversation, without running a model.
    CountTokens,
    /// Pulls a model from a registry.
    Pull,
    /// Deletes a model.
    Delete,
}

impl Operation {
    /// Returns whether the operation runs a model, so that its request is metered.
    #[must_use]
    pub const fn runs_model(self) -> bool {
        matches!(self, Self::Chat | Self::Generate | Self::Embed | Self::Compact)
    }
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
    /// The credential must have this scope, and belong to an admin.
    AdminScope(&'static str),
}

/// A route that the gateway serves.
#[derive(Debug)]
pub struct Endpoint {
    /// The method. An endpoint for GET also serves HEAD.
    pub method: Method,
    /// The complete path, which labels metrics and usage records. A final `{model}` stands for a
    /// model name, which may contain slashes.
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

/// The end of a path that contains a model name.
const MODEL_PARAMETER: &str = "{model}";

impl Endpoint {
    /// Returns whether the response is a stream. `requested` is the request's own `stream` field.
    ///
    /// Without that field the native API streams and the other dialects do not.
    #[must_use]
    pub fn is_streaming(&self, requested: Option<bool>) -> bool {
        match self.operation {
            Operation::Chat | Operation::Generate | Operation::Pull => {
                requested.unwrap_or(self.dialect == Dialect::Ollama)
            }
            _ => false,
        }
    }

    /// Returns whether the endpoint serves a path.
    fn has_path(&self, path: &str) -> bool {
        self.path == path || self.model_in(path).is_some()
    }

    /// Returns the model name in a path of this endpoint, as written and not decoded. `None` if
    /// paths of this endpoint contain none.
    #[must_use]
    pub fn model_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        let prefix = self.path.strip_suffix(MODEL_PARAMETER)?;
        path.strip_prefix(prefix).filter(|model| !model.is_empty())
    }
}

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

/// Finds the endpoint of a request. `path` is the raw path of the request target, without the
/// query.
#[must_use]
pub fn lookup(method: &Method, path: &str) -> Lookup {
    let mut of_path = ENDPOINTS.iter().filter(|endpoint| endpoint.has_path(path)).peekable();
    if let Some(&first) = of_path.peek() {
        let serves = |endpoint: &&Endpoint| {
            endpoint.method == *method || (endpoint.method == Method::GET && *method == Method::HEAD)
        };
        return match of_path.find(serves) {
            Some(endpoint) => Lookup::Served(endpoint),
            None => Lookup::Rejected(RouteError::wrong_method(first)),
        };
    }
    if let Some(endpoint) = rejection::intended_endpoint(method, path) {
        return Lookup::Rejected(RouteError::wrong_base_url(endpoint));
    }
    dialect_of(path).map_or(Lookup::NotOllama, |dialect| Lookup::Rejected(RouteError::not_served(path, dialect)))
}

#[cfg(test)]
mod tests;
