//! Servers that `paddock-tests exec` starts once for all test processes, handed down in the environment.
//!
//! A test process that is not told of one starts its own at first use, so that plain `cargo test` works too, only slower.

use std::path::PathBuf;

use crate::process::Log;

/// A server that can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Shared {
    /// The PostgreSQL cluster; the value is a superuser's URL.
    Postgres,
    /// The Kubernetes control plane; the value is the path of an administrator's kubeconfig.
    Kubernetes,
    /// Ollama with both models; the value is its base URL.
    Ollama,
}

impl Shared {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Kubernetes, Self::Ollama];

    /// The variable that holds the server's address.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "PADDOCK_TEST_POSTGRES_URL",
            Self::Kubernetes => "PADDOCK_TEST_KUBECONFIG",
            Self::Ollama => "PADDOCK_TEST_OLLAMA_URL",
        }
    }

    fn log_variable(self) -> &'static str {
        match self {
            Self::Postgres => "PADDOCK_TEST_POSTGRES_LOG",
            Self::Kubernetes => "PADDOCK_TEST_KUBERNETES_LOG",
            Self::Ollama => "PADDOCK_TEST_OLLAMA_LOG",
        }
    }

    /// The variables that tell a child process of this server.
    #[must_use]
    pub fn variables(self, address: &str, log: &Log) -> [(&'static str, String); 2] {
        [(self.variable(), address.to_owned()), (self.log_variable(), log.path.display().to_string())]
    }
}

/// The address and the log of a server that was handed down to this process.
pub(crate) fn given(server: Shared) -> Option<(String, Log)> {
    let address = std::env::var(server.variable()).ok()?;
    let log = Log {
        name: format!("{server:?}").to_lowercase(),
        path: std::env::var_os(server.log_variable()).map(PathBuf::from).unwrap_or_default(),
        from: 0,
    };
    Some((address, log))
}
