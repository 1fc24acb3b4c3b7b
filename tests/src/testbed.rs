//! Where to find the parts that `tests/testbed/install` puts on this machine.
//!
//! `install --print-env` prints a `NAME=path` line for each installed part. An absent part is a
//! [`Missing`], which skips the tests that need it.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result};

use crate::process::run;

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// A part of the testbed, by the installer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The folder with `etcd`, `kube-apiserver`, `kube-controller-manager` and `kubectl`.
    Kubernetes,
    /// The executable `ollama`, with its engine in the same folder.
    Ollama,
    /// The folder with the two models: `smollm2-135m/model.gguf` and `all-minilm-l6/`.
    Models,
    /// The folder with `initdb`, `postgres` and `psql`.
    Postgres,
    /// The executable `helm`.
    Helm,
    /// The executable `pgbouncer`.
    PgBouncer,
    /// The executable `redis-server`.
    Redis,
    /// The executable `nginx`.
    Nginx,
    /// The load generator `wrk`.
    Wrk,
    /// A Python with the SDKs.
    Python,
    /// A Python with LlamaIndex, which only `make soak` installs.
    LlamaIndex,
    /// A Python with FastAPI, for a gateway that the benchmarks compare with Paddock. Only `make
    /// bench` installs it.
    Fastapi,
    /// A Python with the proxy of LiteLLM, for the same.
    Litellm,
    /// The executable `jq`, which pages of the documentation use.
    Jq,
    /// The executable `sqlite3`, for the same.
    Sqlite,
    /// The executable `promtool`.
    Promtool,
    /// The folder with `check-jsonschema`, `hadolint` and `zizmor`.
    Linters,
    /// The folder with the `node_modules` of the JavaScript SDKs. `node` itself is on PATH.
    NodeClients,
    /// The right to mount a small disk in memory, which only root has. The installer cannot provide
    /// it.
    SmallDisk,
    /// The right to create a network, which only root has, and `unshare` and `ip` for it.
    Network,
    /// The right to remount the root folder and to run as another account, which only root has, and
    /// `unshare` and `setpriv` for it.
    Container,
}

impl Part {
    /// The installer's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Ollama => "ollama",
            Self::Models => "models",
            Self::Postgres => "postgres",
            Self::Helm => "helm",
            Self::PgBouncer => "pgbouncer",
            Self::Redis => "redis",
            Self::Nginx => "nginx",
            Self::Wrk => "wrk",
            Self::Python => "python",
            Self::LlamaIndex => "llama-index",
            Self::Fastapi => "fastapi",
            Self::Litellm => "litellm",
            Self::Jq => "jq",
            Self::Sqlite => "sqlite",
            Self::Promtool => "promtool",
            Self::Linters => "linters",
            Self::NodeClients => "node-clients",
            Self::SmallDisk => "small disk",
            Self::Network => "network",
            Self::Container => "container",
        }
    }

    /// Its path on this machine.
    ///
    /// Errors: [`Missing`], if it is not installed.
    pub fn locate(self) -> Result<PathBuf> {
        let variable = format!("PADDOCK_TESTBED_{}", self.name().to_uppercase().replace('-', "_"));
        let found = installed_paths().get(&variable).map(PathBuf::from).filter(|path| path.exists());
        Ok(found.ok_or(Missing(self))?)
    }
}

/// A part that this machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub Part);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Part::SmallDisk => f.write_str("only root can mount a small disk"),
            Part::Network => f.write_str("only root can create a network, with `unshare` and `ip`"),
            Part::Container => f.write_str("only root can build a container, with `unshare` and `setpriv`"),
            part => write!(f, "the testbed has no {} (`make testbed` installs it)", part.name()),
        }
    }
}

impl std::error::Error for Missing {}

/// The installer's output, read once. If the installer cannot run, every story reports its first
/// missing part.
fn installed_paths() -> &'static HashMap<String, String> {
    static PATHS: OnceLock<HashMap<String, String>> = OnceLock::new();
    PATHS.get_or_init(|| print_env().unwrap_or_default())
}

fn print_env() -> Result<HashMap<String, String>> {
    let installer = repository().join("tests/testbed/install");
    let printed = run(Command::new(&installer).arg("--print-env")).with_context(|| installer.display().to_string())?;
    let pairs = printed.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
