//! The registries that models may be pulled from.

use std::str::FromStr;

use crate::names::ModelName;

/// A registry that models may be pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRegistry {
    host: String,
    insecure: bool,
}

/// The text is not a registry. The message does not repeat it, because it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write host, host:port, or http://host:port for one without TLS")]
pub struct InvalidRegistry(&'static str);

impl FromStr for ModelRegistry {
    type Err = InvalidRegistry;

    /// Parses `host` or `host:port`. The prefix `http://` allows pulls without TLS.
    fn from_str(text: &str) -> Result<Self, InvalidRegistry> {
        let (insecure, host) = match text.strip_prefix("http://") {
            Some(host) => (true, host),
            None => (false, text.strip_prefix("https://").unwrap_or(text)),
        };
        if host.contains('@') {
            return Err(InvalidRegistry("holds a user name or password, which do not belong in it"));
        }
        let well_formed = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        if !well_formed || port.is_some_and(|port| port.starts_with('+') || port.parse::<u16>().is_err()) {
            return Err(InvalidRegistry("is no registry"));
        }
        Ok(Self { host: host.to_ascii_lowercase(), insecure })
    }
}

impl ModelRegistry {
    /// Returns the host in lower case, with the port if there is one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether models may be pulled without TLS.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }
}

/// `MODEL_REGISTRIES` does not list the registry of a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("comes from registry {registry}, and MODEL_REGISTRIES lists only {}", .listed.join(", "))]
pub struct RegistryError {
    registry: String,
    listed: Vec<String>,
}

/// Returns the registry of the model, if models may be pulled from it.
pub fn check_registry<'a>(
    registries: &'a [ModelRegistry],
    model: &ModelName,
) -> Result<&'a ModelRegistry, RegistryError> {
    registries.iter().find(|registry| registry.host() == model.registry()).ok_or_else(|| RegistryError {
        registry: model.registry().to_owned(),
        listed: registries.iter().map(|registry| registry.host().to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("smollm2:135m", Some(false))]
    #[case("https://REGISTRY.ollama.ai/library/m", Some(false))]
    #[case("127.0.0.1:5000/a/m", Some(true))]
    #[case("http://127.0.0.1:5000/a/m", Some(true))]
    #[case("127.0.0.1/a/m", None)]
    #[case("127.0.0.1:05000/a/m", None)]
    #[case("registry.ollama.ai:443/a/m", None)]
    #[case("registry.ollama.ai./a/m", None)]
    #[case("evil.registry.ollama.ai/a/m", None)]
    #[case("localhost:5000/a/m", None)]
    fn only_listed_registries_are_accepted(#[case] model: &str, #[case] insecure: Option<bool>) {
        let registries = ["registry.ollama.ai", "http://127.0.0.1:5000"].map(|text| text.parse().expect("a registry"));
        let model = ModelName::parse(model).expect("a name");
        assert_eq!(check_registry(&registries, &model).ok().map(ModelRegistry::is_insecure), insecure);
    }

    #[test]
    fn registries_are_hosts() {
        let parse = |text: &str| text.parse::<ModelRegistry>();
        assert_eq!(parse("Registry.Ollama.ai").unwrap().host(), "registry.ollama.ai");
        assert!(!parse("registry.ollama.ai").unwrap().is_insecure());
        assert!(parse("http://127.0.0.1:5000").unwrap().is_insecure());
        assert_eq!(parse("[::1]:5000").unwrap().host(), "[::1]:5000");
        assert_eq!(parse("[::1]").unwrap().host(), "[::1]");
        for wrong in ["", "http://", "host/path", "ftp://host", "a b", "host:", "host:+5000", "host:65536"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for wrong in ["http://ada:hunter22@host:5000", "ada:hunter22", "hunter22@host"] {
            let error = wrong.parse::<ModelRegistry>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter22"), "{error}");
        }
    }
}
