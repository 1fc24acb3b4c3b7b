//! `make demo`: the story of the README on real parts. Three YAMLs are applied, a Secret comes out, and three clients chat with it.

use std::io::{Write as _, stdout};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::database::{Database, Engine};
use crate::kubernetes::{CONTEXT, Kubernetes};
use crate::ollama::{CHAT_MODEL, Ollama};
use crate::paddock::{Bootstrap, Launch, Paddock};
use crate::process::run;
use crate::testbed::{Missing, repository};
use crate::workload::Workload;

/// The objects of `examples/quickstart/`, and the Secret that comes of them.
pub const OBJECTS: [&str; 3] = ["apiuser/ada", "apikey/ada", "ollamamodel/smollm2"];
/// The Secret that the `ApiKey` of `examples/quickstart/` brings.
pub const SECRET: &str = "ada-apikey";

/// What the demo has started. Dropping it stops it.
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

    /// Tells the story, each command before what it prints.
    pub fn tell(&self) -> Result<()> {
        self.kubectl(&["apply", "--filename", "examples/quickstart/"])?;
        for object in OBJECTS {
            self.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", object])?;
        }
        self.kubectl(&["get", "apiusers,apikeys,ollamamodels,secrets"])?;
        let secret = run(self.kubernetes.kubectl("default")?.args(["get", "secret", SECRET, "--output=json"]))?;
        let workload = Workload::new(&secret, CHAT_MODEL)?;
        show("curl, with the variables of the Secret", &mut workload.curl())?;
        for (title, command) in [
            ("the ollama SDK, with the same", workload.ollama_sdk()),
            ("the openai SDK, with the same", workload.openai_sdk()),
        ] {
            match command {
                Ok(mut command) => show(title, &mut command)?,
                Err(error) if error.is::<Missing>() => say(&format!("\n# {title}: not shown, {error}\n"))?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How to go on.
    #[must_use]
    pub fn advice(&self) -> String {
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
        show(&format!("kubectl {}", arguments.join(" ")), &mut command)
    }
}

/// Runs a command with its output on ours.
fn show(title: &str, command: &mut Command) -> Result<()> {
    say(&format!("\n$ {title}\n"))?;
    let status = command.status().with_context(|| title.to_owned())?;
    ensure!(status.success(), "{title}: {status}");
    Ok(())
}

fn say(text: &str) -> Result<()> {
    Ok(stdout().write_all(text.as_bytes())?)
}
