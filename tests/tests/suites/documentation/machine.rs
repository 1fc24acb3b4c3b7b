//! The machines on which the commands of a page run: bash in a folder of its own, with the tools of
//! the testbed, beside a Paddock with a real Ollama.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use paddock_tests::{
    database::{Database, Engine},
    kubernetes::{CONTEXT, Kubernetes},
    ollama::{Ollama, chat_model_file},
    paddock::{Bootstrap, Launch, Paddock},
    process::run,
    reaper,
    registry::Registry,
    testbed::{Part, repository},
};
use tempfile::TempDir;

use super::page::{Rules, Treatment, commands};

/// Makes curl fail on an error status, and defines what tables of commands use.
const PRELUDE: &str = r#"
set -euo pipefail
mkdir bin
ln -s "$1" bin/paddock
export PATH=$PWD/bin:$PATH XDG_CONFIG_HOME=$PWD/config
curl() { case $1 in -sSf) command curl "$@" ;; *) command curl --fail-with-body "$@" ;; esac; }
sign_in() { printf '%s\n' "$EMAIL" "$PASSWORD" | paddock login --server "$URL" "$@"; }
printf '%s\n' "$KEY" > key-file
set -x
"#;

/// The time for the commands of a page, in seconds.
const PAGE_TIMEOUT: &str = "180";

/// What the commands of a page need.
struct Machine {
    database: Database,
    /// An empty database.
    other: Database,
    ollama: Ollama,
    registry: Registry,
    /// The name of the model in the registry.
    model: String,
    folder: TempDir,
}

impl Machine {
    async fn prepare() -> Result<Self> {
        for part in [Part::Jq, Part::Sqlite] {
            part.locate()?;
        }
        let registry = Registry::start().await?;
        let (model, _) = registry.add_gguf("library/smollm2:135m", &chat_model_file()?)?;
        let folder = reaper::scratch_dir("documentation")?;
        for name in ["charts", "crds", "examples", "kustomize"] {
            symlink(repository().join(name), folder.path().join(name))?;
        }
        Ok(Self {
            database: Database::new(Engine::Postgres).await?,
            other: Database::new(Engine::Postgres).await?,
            ollama: Ollama::empty().await?,
            registry,
            model,
            folder,
        })
    }

    fn launch(&self, arguments: &[&str]) -> Result<Launch> {
        let head = self.folder.path().join("server.head");
        Ok(Launch::new(arguments, self.database.url())?
            .ollama(self.ollama.url())
            .env("MODEL_REGISTRIES", &self.registry.url())
            .env("AUDIT_HEAD_FILE", &head.display().to_string()))
    }

    /// Runs the commands of a page in one shell.
    fn run(&self, page: &str, rules: &Rules, launch: &Launch, paddock: &Paddock, admin: &Bootstrap) -> Result<()> {
        let mut script = PRELUDE.to_owned() + &rules.begin + "\n";
        for command in commands(page)? {
            match rules.treatment(&command) {
                Treatment::Run => writeln!(script, "{}", self.here(&rules.with_texts(&command), paddock, admin))?,
                Treatment::Replaced(text) => writeln!(script, "{text}")?,
                Treatment::LeftOut => {}
            }
        }
        let file = self.folder.path().join("page.sh");
        fs::write(&file, script)?;
        let folder = self.folder.path().display().to_string();
        let prefix =
            ["env", &format!("--chdir={folder}"), "timeout", PAGE_TIMEOUT, "bash", &file.display().to_string()]
                .map(str::to_owned);
        let mut path: Vec<PathBuf> = vec![Part::Kubernetes.locate()?, Part::Postgres.locate()?];
        path.push(Part::Helm.locate()?.parent().context("a folder")?.to_owned());
        path.extend(std::env::split_paths(&std::env::var_os("PATH").context("PATH")?));
        let mut command = launch
            .clone()
            .env("URL", paddock.url())
            .env("EMAIL", &admin.email)
            .env("PASSWORD", &admin.password)
            .env("KEY", &admin.key)
            .env("MODEL", &self.model)
            .env("EMPTY_DATABASE_URL", self.other.url())
            .with_prefix(&prefix)
            .command(&[])?;
        command.env("PATH", std::env::join_paths(path)?).env("HOME", self.folder.path());
        run(&mut command)?;
        Ok(())
    }

    /// A command with the addresses, the key and the model of this machine.
    fn here(&self, command: &str, paddock: &Paddock, admin: &Bootstrap) -> String {
        command
            .replace("https://paddock.example.com", paddock.url())
            .replace("http://127.0.0.1:8080", paddock.url())
            .replace("http://127.0.0.1:9090", paddock.metrics_url())
            .replace("pdk_...", &admin.key)
            .replace(r#""password": "...""#, &format!(r#""password": "{}""#, admin.password))
            .replace("smollm2:135m", &self.model)
    }
}

/// Runs the commands of a page beside a server.
pub(super) async fn run_beside_a_server(page: &str, rules: &Rules) -> Result<()> {
    let machine = Machine::prepare().await?;
    let launch = machine.launch(&["api"])?;
    let admin = launch.seed()?;
    let paddock = launch.clone().start().await?;
    machine.run(page, rules, &launch, &paddock, &admin)
}

/// Runs the commands of a page beside a server with an operator, on a control plane of its own.
pub(super) async fn run_in_a_cluster(page: &str, rules: &Rules) -> Result<()> {
    let machine = Machine::prepare().await?;
    let cluster = Kubernetes::start().await?;
    let kubeconfig = kubeconfig(&cluster, machine.folder.path())?;
    let launch = machine.launch(&["run", "--operator", "--context", CONTEXT])?.env("KUBECONFIG", &kubeconfig);
    let admin = launch.seed()?;
    let paddock = launch.clone().start().await?;
    machine.run(page, rules, &launch, &paddock, &admin)
}

/// A copy of the administrator's kubeconfig in the folder.
fn kubeconfig(cluster: &Kubernetes, folder: &Path) -> Result<String> {
    let path = folder.join("kubeconfig");
    fs::copy(cluster.kubeconfig(), &path)?;
    Ok(path.display().to_string())
}
