//! What the operator has to be told.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

/// The operator's configuration. `cli` reads it from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Kubernetes is and who we are there: see [`crate::access`].
    pub kube: kube::Config,
    /// Namespaces to watch; empty: all of them.
    pub watch_namespaces: BTreeSet<String>,
    /// Namespaces whose `ApiUser` objects may have the role `admin`.
    pub admin_namespaces: BTreeSet<String>,
    /// Where workloads reach the gateway, as Secrets say it; without a trailing slash.
    pub public_url: String,
    /// Registries that models may come from.
    pub model_registries: Vec<ModelRegistry>,
    /// The leader lease.
    pub lease: Lease,
    /// How many objects are worked on at once. Each needs a database connection at times.
    pub concurrency: usize,
    /// How long work under way may take after a shutdown has begun.
    pub drain_timeout: Duration,
}

/// The leader lease: `coordination.k8s.io/v1`, held 15 s, renewed every 2 s, given up after 10 s without renewal.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are; no two running instances may share it. An instance that comes back with the identity it had leads at
    /// once.
    pub identity: String,
}

/// A registry that models may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRegistry {
    host: String,
    insecure: bool,
}

/// A text that names no registry. It is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write host, host:port, or http://host:port for one without TLS")]
pub struct InvalidRegistry(&'static str);

impl FromStr for ModelRegistry {
    type Err = InvalidRegistry;

    /// `host` or `host:port`; with `http://` before it, insecure pulls are allowed.
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
    /// The host, with its port where one is given, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether models may be pulled from it without TLS.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
