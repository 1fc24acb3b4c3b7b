//! Where the parts are that `tests/testbed/install` puts on this machine.
//!
//! The installer alone knows: `install --print-env` prints a `NAME=value` line for each part that is there. A part that is not there is a [`Missing`], which skips the tests that need it.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use crate::process::run;

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// A part of the testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The folder with `etcd`, `kube-apiserver`, `kube-controller-manager` and `kubectl`.
    Kubernetes,
    /// The executable `ollama`, its engine beside it.
    Ollama,
    /// The chat model: `SmolLM2-135M-Instruct` as a .gguf file.
    ChatModel,
    /// The embedding model: a folder with `all-MiniLM-L6-v2` as safetensors.
    EmbeddingModel,
    /// The folder with `initdb`, `postgres` and `psql`.
    Postgres,
    /// The executable `nginx`.
    Nginx,
    /// The load generator `wrk`.
    Wrk,
    /// A Python with the ollama and openai SDKs.
    Python,
}

impl Part {
    /// The variable that names its place, in the installer's output and, as an override, in the environment.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Kubernetes => "KUBEBUILDER_ASSETS",
            Self::Ollama => "OLLAMA_BIN",
            Self::ChatModel => "CHAT_MODEL",
            Self::EmbeddingModel => "EMBEDDING_MODEL",
            Self::Postgres => "POSTGRES_BIN",
            Self::Nginx => "NGINX_BIN",
            Self::Wrk => "WRK_BIN",
            Self::Python => "PYTHON_BIN",
        }
    }

    /// Its place on this machine.
    ///
    /// Errors: [`Missing`], if the testbed does not have it.
    pub fn locate(self) -> Result<PathBuf> {
        let places = places();
        let found = std::env::var(self.variable())
            .ok()
            .or_else(|| places.get(self.variable()).cloned())
            .filter(|place| !place.is_empty() && Path::new(place).exists());
        Ok(found.map(PathBuf::from).ok_or(Missing(self))?)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "the Kubernetes control plane",
            Self::Ollama => "Ollama",
            Self::ChatModel => "the chat model",
            Self::EmbeddingModel => "the embedding model",
            Self::Postgres => "PostgreSQL",
            Self::Nginx => "nginx",
            Self::Wrk => "wrk",
            Self::Python => "the Python SDKs",
        })
    }
}

/// A part that this machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub Part);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part) = self;
        write!(f, "{part} is not installed (`make testbed` brings it; {} names another place)", part.variable())
    }
}

impl std::error::Error for Missing {}

/// What the installer prints, asked once. An installer that cannot run is a machine without parts: every story then says which one it misses.
fn places() -> &'static HashMap<String, String> {
    static PLACES: OnceLock<HashMap<String, String>> = OnceLock::new();
    PLACES.get_or_init(|| printed_places().unwrap_or_default())
}

fn printed_places() -> Result<HashMap<String, String>> {
    let installer = repository().join("tests/testbed/install");
    let printed = run(Command::new(&installer).arg("--print-env")).with_context(|| installer.display().to_string())?;
    Ok(printed
        .lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect())
}
