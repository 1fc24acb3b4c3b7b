//! What an `OllamaModel` asks for, checked. Pure.

use paddock_crds::OllamaModel;
use paddock_ollama::ModelName;

use crate::conditions::{Reason, Refusal};
use crate::config::ModelRegistry;

/// A model as the object asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) model: ModelName,
    /// Pull without TLS.
    pub(crate) insecure: bool,
}

/// The model that the object asks for.
pub(crate) fn wanted(object: &OllamaModel, registries: &[ModelRegistry]) -> Result<Wanted, Refusal> {
    let spec = &object.spec;
    let model = ModelName::parse(&spec.model)
        .map_err(|error| Refusal::new(Reason::InvalidSpec, format!("spec.model: {error}")))?;
    if model.is_cloud() {
        let message = "spec.model names a model of Ollama's cloud, which is not pulled";
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    let Some(registry) = registries.iter().find(|registry| registry.host() == model.registry()) else {
        let allowed: Vec<_> = registries.iter().map(ModelRegistry::host).collect();
        let message = format!(
            "spec.model comes from registry {}, and MODEL_REGISTRIES lists only {}; use a model from there, or have the \
             operator's configuration changed",
            model.registry(),
            allowed.join(", ")
        );
        return Err(Refusal::new(Reason::RegistryNotAllowed, message));
    };
    if spec.insecure_registry && !registry.is_insecure() {
        let message = format!(
            "spec.insecureRegistry: MODEL_REGISTRIES does not list {0} as http://{0}; remove the field, or have the \
             operator's configuration changed",
            registry.host()
        );
        return Err(Refusal::new(Reason::InsecureNotAllowed, message));
    }
    Ok(Wanted { model, insecure: spec.insecure_registry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn check(model: &str, insecure: bool) -> Result<Wanted, Refusal> {
        let object = json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "OllamaModel", "metadata": {"name": "m", "namespace": "n"},
            "spec": {"model": model, "insecureRegistry": insecure},
        });
        let registries = ["registry.ollama.ai", "http://127.0.0.1:5000"].map(|text| text.parse().unwrap());
        wanted(&serde_json::from_value(object).unwrap(), &registries)
    }

    #[rstest]
    #[case("smollm2:135m", false, "registry.ollama.ai/library/smollm2:135m")]
    #[case("127.0.0.1:5000/library/smollm2:135m", true, "127.0.0.1:5000/library/smollm2:135m")]
    fn models_of_listed_registries(#[case] model: &str, #[case] insecure: bool, #[case] canonical: &str) {
        let wanted = check(model, insecure).unwrap();
        assert_eq!(wanted.model.as_str(), canonical);
        assert_eq!(wanted.insecure, insecure);
    }

    #[rstest]
    #[case("evil.example/library/m:1", false, Reason::RegistryNotAllowed, "evil.example")]
    #[case("smollm2:135m", true, Reason::InsecureNotAllowed, "http://registry.ollama.ai")]
    #[case("a/b/c/d:1", false, Reason::InvalidSpec, "spec.model")]
    #[case("big:120b-cloud", false, Reason::InvalidSpec, "cloud")]
    fn others_are_refused_by_name(
        #[case] model: &str,
        #[case] insecure: bool,
        #[case] reason: Reason,
        #[case] word: &str,
    ) {
        let refusal = check(model, insecure).unwrap_err();
        assert_eq!(refusal.reason, reason);
        assert!(refusal.message.contains(word), "{}", refusal.message);
    }
}
