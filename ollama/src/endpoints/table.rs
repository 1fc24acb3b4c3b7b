//! The table itself.

use http::Method;

use super::{Access, Endpoint, Operation};
use crate::{
    dialect::Dialect,
    request::known_fields::{self, KnownFields},
};

const READ_MODELS: Access = Access::Scope("models:read");
const WRITE_MODELS: Access = Access::AdminScope("models:write");
const CHAT: Access = Access::Scope("chat");
const GENERATE: Access = Access::Scope("generate");
const EMBED: Access = Access::Scope("embed");

const fn get(path: &'static str, access: Access, dialect: Dialect, operation: Operation) -> Endpoint {
    Endpoint { method: Method::GET, path, access, dialect, operation, known_fields: None }
}

const fn with_body(
    method: Method,
    path: &'static str,
    access: Access,
    dialect: Dialect,
    operation: Operation,
    known_fields: &'static KnownFields,
) -> Endpoint {
    Endpoint { method, path, access, dialect, operation, known_fields: Some(known_fields) }
}

const fn native(
    path: &'static str,
    access: Access,
    operation: Operation,
    known_fields: &'static KnownFields,
) -> Endpoint {
    with_body(Method::POST, path, access, Dialect::Ollama, operation, known_fields)
}

const fn openai(
    path: &'static str,
    access: Access,
    operation: Operation,
    known_fields: &'static KnownFields,
) -> Endpoint {
    with_body(Method::POST, path, access, Dialect::OpenAi, operation, known_fields)
}

const fn anthropic(path: &'static str, operation: Operation, known_fields: &'static KnownFields) -> Endpoint {
    with_body(Method::POST, path, CHAT, Dialect::Anthropic, operation, known_fields)
}

/// All routes that the gateway serves.
pub static ENDPOINTS: &[Endpoint] = &[
    get("/", Access::Public, Dialect::Ollama, Operation::Root),
    get("/api/version", Access::Authenticated, Dialect::Ollama, Operation::Version),
    get("/api/tags", READ_MODELS, Dialect::Ollama, Operation::ListModels),
    get("/api/ps", READ_MODELS, Dialect::Ollama, Operation::ListLoaded),
    native("/api/show", READ_MODELS, Operation::ShowModel, &known_fields::SHOW),
    native("/api/chat", CHAT, Operation::Chat, &known_fields::CHAT),
    native("/api/generate", GENERATE, Operation::Generate, &known_fields::GENERATE),
    native("/api/embed", EMBED, Operation::Embed, &known_fields::EMBED),
    native("/api/embeddings", EMBED, Operation::Embed, &known_fields::EMBEDDINGS),
    native("/api/pull", WRITE_MODELS, Operation::Pull, &known_fields::PULL),
    with_body(Method::DELETE, "/api/delete", WRITE_MODELS, Dialect::Ollama, Operation::Delete, &known_fields::DELETE),
    get("/v1/models", READ_MODELS, Dialect::OpenAi, Operation::ListModels),
    get("/v1/models/{model}", READ_MODELS, Dialect::OpenAi, Operation::RetrieveModel),
    openai("/v1/chat/completions", CHAT, Operation::Chat, &known_fields::OPENAI_CHAT),
    openai("/v1/completions", GENERATE, Operation::Generate, &known_fields::OPENAI_COMPLETION),
    openai("/v1/embeddings", EMBED, Operation::Embed, &known_fields::OPENAI_EMBED),
    openai("/v1/responses", CHAT, Operation::Chat, &known_fields::RESPONSES),
    openai("/v1/responses/compact", CHAT, Operation::Compact, &known_fields::RESPONSES),
    anthropic("/v1/messages", Operation::Chat, &known_fields::MESSAGES),
    anthropic("/v1/messages/count_tokens", Operation::CountTokens, &known_fields::COUNT_TOKENS),
];
