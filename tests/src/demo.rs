//! `make demo`: the README's example on real parts. It applies three YAMLs, and three clients chat
//! with the issued Secret.

use std::{
    io::{Write as _, stdout},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    database::{Database, Engine},
    kubernetes::{CONTEXT, Kubernetes},
    ollama::{CHAT_MODEL, Ollama},
    paddock::{Bootstrap, Launch, Paddock},
    process::run,
    testbed::{Missing, repository},
    workload::Workload,
};

/// The objects of `examples/quickstart/`.
pub const OBJECTS: [&str; 3] = ["apiuser/ada", "apikey/ada", "ollamamodel/smollm2"];
/// The Secret that the operator creates for the `ApiKey` of `examples/quickstart/`.
pub const SECRET: &str = "ada-apikey";

/// The running servers of the demo. Dropping it stops them.
pub struct Demo {
    kubernetes: Kubernetes,
    _ollama: Ollama,
    _database: Database,
    paddock: Paddock,
    admin: Bootstrap,
}

impl Demo {
    /// Starts the control plane, Ollama, and Paddock with its operator.
    pub async fn start() -> Result<Self> {
        let (kubernetes, ollama) = tokio::try_join!(Kubernetes::start(), Ollama::with_models())?;
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["run", "--operator", "--context", CONTEXT], database.url())?
            .ollama(ollama.url())
            .env("KUBECONFIG", &kubernetes.kubeconfig().display().to_string());
        let admin = launch.seed()?;
        let paddock = launch.start().await?;
        Ok(Self { kubernetes, _ollama: ollama, _database: database, paddock, admin })
    }

    /// Runs the steps of the demo. Each command is printed before its output.
    pub fn run_steps(&self) -> Result<()> {
        self.kubectl(&["apply", "--filename", "examples/quickstart/"])?;
        for object in OBJECTS {
            self.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", object])?;
        }
        self.kubectl(&["get", "apiusers,apikeys,ollamamodels,secrets"])?;
        let secret = run(self.kubernetes.kubectl("default")?.args(["get", "secret", SECRET, "--output=json"]))?;
        let workload = Workload::new(&secret, CHAT_MODEL)?;
        run_shown("curl, with the variables of the Secret", &mut workload.curl())?;
        for (title, command) in [
            ("the ollama SDK, with the same", workload.ollama_sdk()),
            ("the openai SDK, with the same", workload.openai_sdk()),
        ] {
            match command {
                Ok(mut command) => run_shown(title, &mut command)?,
                Err(error) if error.is::<Missing>() => print(&format!("\n# {title}: not shown, {error}\n"))?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The commands with which the reader can go on.
    #[must_use]
    pub fn next_steps(&self) -> String {
        let Bootstrap { email, password, key } = &self.admin;
        let url = self.paddock.url();
        format!(
            "Everything stays up until Ctrl-C. In another terminal:\n\n\
             export KUBECONFIG={kubeconfig}\n\
             {kubectl} get apiusers,apikeys,ollamamodels,secrets\n\
             curl {url}/audit -H 'Authorization: Bearer {key}'\n\n\
             API and docs: {url}/docs, as {email} with password {password}\n",
            kubeconfig = self.kubernetes.kubeconfig().display(),
            kubectl = self
                .kubernetes
                .kubectl("default")
                .map_or_else(|_| "kubectl".to_owned(), |command| command.get_program().to_string_lossy().into_owned()),
        )
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.kubernetes.kubectl("default")?;
        command.args(arguments).current_dir(repository());
        run_shown(&format!("kubectl {}", arguments.join(" ")), &mut command)
    }
}

/// Runs a command with its output on this process's standard output.
fn run_shown(title: &str, command: &mut Command) -> Result<()> {
    print(&format!("\n$ {title}\n"))?;
    let status = command.status().with_context(|| title.to_owned())?;
    ensure!(status.success(), "{title}: {status}");
    Ok(())
}

fn print(text: &str) -> Result<()> {
    Ok(stdout().write_all(text.as_bytes())?)
}
