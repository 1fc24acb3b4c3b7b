//! The operator's configuration.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

/// The operator's configuration. `cli` reads it from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and credentials of the API server: see [`crate::load_kube_config`].
    pub kube: kube::Config,
    /// Namespaces to watch. Empty stands for all.
    pub watch_namespaces: BTreeSet<String>,
    /// Namespaces whose `ApiUser` objects may grant the role `admin`.
    pub admin_namespaces: BTreeSet<String>,
    /// The gateway's URL for workloads, as written to Secrets; without a trailing slash.
    pub public_url: String,
    /// Registries that models may be pulled from.
    pub model_registries: Vec<ModelRegistry>,
    /// The leader lease.
    pub lease: Lease,
    /// How many users and keys, and how many models, are reconciled at once. Each reconcile may
    /// hold a database connection.
    pub concurrency: usize,
    /// How long running reconciles may take after a shutdown has begun.
    pub drain_timeout: Duration,
}

/// The leader lease, a `Lease` of `coordination.k8s.io/v1`. It is valid for 15 s and renewed every
/// 2 s. A leader that cannot renew it gives it up after 10 s.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The namespace of the `Lease`.
    pub namespace: String,
    /// The name of the `Lease`.
    pub name: String,
    /// The identity of this instance, which no other running instance may have. After a restart
    /// with the same identity the instance is the leader at once.
    pub identity: String,
}

/// A registry that models may be pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRegistry {
    host: String,
    insecure: bool,
}

/// The text is no registry. The message does not repeat it, because it may hold a password.
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
