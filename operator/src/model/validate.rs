//! Validates an `OllamaModel`. Pure.

use paddock_crds::OllamaModel;
use paddock_ollama::{ModelName, ModelRegistry, check_registry};

use crate::status::conditions::{Blocked, Reason};

/// A validated spec.
#[derive(Clone, Debug)]
pub(crate) struct ModelSpec {
    pub(crate) model: ModelName,
    /// Whether to pull without TLS.
    pub(crate) is_insecure: bool,
}

/// Validates the spec against the registries that may be used.
pub(crate) fn model_spec(object: &OllamaModel, registries: &[ModelRegistry]) -> Result<ModelSpec, Blocked> {
    let spec = &object.spec;
    let model = ModelName::parse(&spec.model)
        .map_err(|error| Blocked::new(Reason::InvalidSpec, format!("spec.model: {error}")))?;
    if model.is_cloud() {
        let message = "spec.model names a model of Ollama's cloud, which is not pulled";
        return Err(Blocked::new(Reason::InvalidSpec, message));
    }
    let registry = check_registry(registries, &model).map_err(|error| {
        let message =
            format!("spec.model {error}; use a model from there, or have the operator's configuration changed");
        Blocked::new(Reason::RegistryNotAllowed, message)
    })?;
    if spec.insecure_registry && !registry.is_insecure() {
        let message = format!(
            "spec.insecureRegistry: MODEL_REGISTRIES does not list {0} as http://{0}; remove the field, or have the \
             operator's configuration changed",
            registry.host()
        );
        return Err(Blocked::new(Reason::InsecureNotAllowed, message));
    }
    Ok(ModelSpec { model, is_insecure: spec.insecure_registry })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn check(model: &str, insecure: bool) -> Result<ModelSpec, Blocked> {
        let object = json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "OllamaModel", "metadata": {"name": "m", "namespace": "n"},
            "spec": {"model": model, "insecureRegistry": insecure},
        });
        let registries = ["registry.ollama.ai", "http://127.0.0.1:5000"].map(|text| text.parse().unwrap());
        model_spec(&serde_json::from_value(object).unwrap(), &registries)
    }

    #[rstest]
    #[case("smollm2:135m", false, "registry.ollama.ai/library/smollm2:135m")]
    #[case("127.0.0.1:5000/library/smollm2:135m", true, "127.0.0.1:5000/library/smollm2:135m")]
    fn a_model_of_a_listed_registry_is_valid(#[case] model: &str, #[case] insecure: bool, #[case] canonical: &str) {
        let spec = check(model, insecure).unwrap();
        assert_eq!(spec.model.as_str(), canonical);
        assert_eq!(spec.is_insecure, insecure);
    }

    #[rstest]
    #[case("evil.example/library/m:1", false, Reason::RegistryNotAllowed, "evil.example")]
    #[case("smollm2:135m", true, Reason::InsecureNotAllowed, "http://registry.ollama.ai")]
    #[case("a/b/c/d:1", false, Reason::InvalidSpec, "spec.model")]
    #[case("big:120b-cloud", false, Reason::InvalidSpec, "cloud")]
    fn an_invalid_field_is_named(
        #[case] model: &str,
        #[case] insecure: bool,
        #[case] reason: Reason,
        #[case] word: &str,
    ) {
        let blocked = check(model, insecure).unwrap_err();
        assert_eq!(blocked.reason, reason);
        assert!(blocked.message.contains(word), "{}", blocked.message);
    }
}
