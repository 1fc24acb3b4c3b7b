//! Which model a request names, and whether its principal may use it. The functions here are pure.

use std::borrow::Cow;

use paddock_accounts::access::Principal;
use paddock_ollama::{ModelName, Scanned};

use super::error::gateway_error;
use crate::http::error::{ApiError, Kind};

/// A model that a principal may use.
#[derive(Debug, Clone)]
pub(super) struct NamedModel {
    /// The name in canonical form.
    pub(super) name: ModelName,
    /// The name as the client wrote it.
    pub(super) written: String,
}

/// Returns the model that a request names, if the principal may use it.
pub(super) fn requested_model(scanned: &Scanned<'_>, principal: &Principal) -> Result<NamedModel, ApiError> {
    allowed_model(written_name(scanned)?, principal)
}

/// Returns the model of this name, if the principal may use it.
pub(super) fn allowed_model(written: &str, principal: &Principal) -> Result<NamedModel, ApiError> {
    let name = ModelName::parse(written)
        .map_err(|error| gateway_error(Kind::Malformed, "invalid_model_name", error.to_string()))?;
    if name.is_cloud() {
        return Err(remote());
    }
    let model = NamedModel { name, written: written.to_owned() };
    if allows(principal, &model.name) { Ok(model) } else { Err(model.not_found()) }
}

/// Whether the lists of both the user and the key allow a model.
pub(super) fn allows(principal: &Principal, model: &ModelName) -> bool {
    principal.allow_lists().all(|list| paddock_ollama::allows(list.iter(), model))
}

/// The error for a model that Ollama would run on a remote host.
pub(super) fn remote() -> ApiError {
    gateway_error(Kind::Forbidden, "remote_model", "models that run outside this Ollama are not served")
}

impl NamedModel {
    /// The error for a missing model and for a forbidden model, in Ollama's own words. A client
    /// cannot distinguish the two cases.
    pub(super) fn not_found(&self) -> ApiError {
        let detail = format!("model '{}' not found", truncated(&self.written));
        gateway_error(Kind::NotFound, "model_not_found", detail)
    }
}

/// Truncates a name, for an error message.
fn truncated(name: &str) -> Cow<'_, str> {
    const MAX_LENGTH: usize = 200;
    match name.char_indices().nth(MAX_LENGTH) {
        Some((end, _)) => Cow::Owned(format!("{}...", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

/// Returns the model's name: `model`, or `name` where the endpoint accepts it. Two different names
/// are an error.
pub(super) fn written_name<'a>(scanned: &'a Scanned<'_>) -> Result<&'a str, ApiError> {
    let invalid = |reason| gateway_error(Kind::Malformed, "invalid_model_name", reason);
    let names = [scanned.model(), scanned.name()];
    let mut given = names.into_iter().flatten().filter(|name| !name.is_empty());
    match (given.next(), given.next()) {
        (None, _) => Err(invalid("model is required")),
        (Some(name), None) => Ok(name),
        (Some(model), Some(name)) if model == name => Ok(model),
        (Some(_), Some(_)) => Err(invalid("model and name are two different models")),
    }
}
