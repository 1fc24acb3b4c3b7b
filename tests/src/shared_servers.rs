//! Servers that `paddock-tests exec` starts once for all test processes. They inherit them through
//! the environment.
//!
//! A test process without such a variable starts its own server at first use, so that plain `cargo
//! test` works, but slower.

use std::path::PathBuf;

use crate::process::Log;

/// A server that test processes can share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum SharedServer {
    /// The PostgreSQL cluster; the value is a superuser's URL.
    Postgres,
    /// The Kubernetes control plane; the value is the path of an administrator's kubeconfig.
    Kubernetes,
    /// Ollama with both models; the value is its base URL.
    Ollama,
}

impl SharedServer {
    /// All shared servers.
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

    /// The variables by which a child process finds this server.
    #[must_use]
    pub fn variables(self, address: &str, log: &Log) -> [(&'static str, String); 2] {
        [(self.variable(), address.to_owned()), (self.log_variable(), log.path.display().to_string())]
    }
}

/// The address and the log of a server that this process has inherited.
pub(crate) fn inherited(server: SharedServer) -> Option<(String, Log)> {
    let address = std::env::var(server.variable()).ok()?;
    let log = Log {
        name: format!("{server:?}").to_lowercase(),
        path: std::env::var_os(server.log_variable()).map(PathBuf::from).unwrap_or_default(),
        from: 0,
    };
    Some((address, log))
}
