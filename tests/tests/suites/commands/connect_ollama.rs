//! The real `ollama` command, which sends no key, through `paddock connect` to a real Ollama.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    ollama::{CHAT_MODEL, Ollama},
    paddock::{Caller, Paddock},
    process::run,
    reaper,
    story::story,
    testbed::Part,
};
use rstest::rstest;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use super::{bare_command, connect::Connection};

/// A Paddock in front of the real Ollama, and a `paddock connect` with a workload's key.
struct OllamaFixture {
    connection: Connection,
    home: TempDir,
    _paddock: Paddock,
    _admin: Caller,
    _database: Database,
}

impl OllamaFixture {
    async fn start() -> Result<Self> {
        let ollama = Ollama::shared().await?;
        let database = Database::new(Engine::Sqlite).await?;
        let (paddock, admin) = Paddock::api(database.url(), ollama.url()).await?;
        let workload = admin.create_workload().await?;
        let mut command = bare_command(&["connect", "--listen", "127.0.0.1:0", "--server", paddock.url()])?;
        command.env("PADDOCK_TOKEN", workload.key());
        let connection = Connection::start(command).await?;
        let home = reaper::scratch_dir("ollama-home")?;
        Ok(Self { connection, home, _paddock: paddock, _admin: admin, _database: database })
    }

    /// The command `ollama` with these arguments.
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(Part::Ollama.locate()?);
        command.args(arguments).env_clear().env("HOME", self.home.path()).env("OLLAMA_HOST", &self.connection.url);
        Ok(command)
    }

    /// Runs `ollama` with these arguments. Its standard output.
    async fn ollama(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments)?;
        tokio::task::spawn_blocking(move || run(&mut command)).await?.with_context(|| arguments.join(" "))
    }

    /// Runs `ollama` with these arguments until it prints something. The small model may write
    /// without end, and the command cannot bound it.
    async fn wait_for_output(&self, arguments: &[&str]) -> Result<()> {
        let mut command = tokio::process::Command::from(self.command(arguments)?);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let mut stdout = child.stdout.take().context("a pipe")?;
        let mut text = String::new();
        while text.trim().is_empty() {
            let mut buffer = [0; 64];
            let length = stdout.read(&mut buffer).await?;
            ensure!(length > 0, "{} ended without an answer", arguments.join(" "));
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        Ok(child.kill().await?)
    }
}

#[rstest]
#[case::list(&["list"])]
#[case::show(&["show", CHAT_MODEL])]
#[tokio::test(flavor = "multi_thread")]
async fn the_ollama_command_describes_models(#[case] arguments: &[&str]) {
    story(async {
        let ollama = OllamaFixture::start().await?;
        let printed = ollama.ollama(arguments).await?;
        let expected = if arguments[0] == "list" { CHAT_MODEL } else { "parameters" };
        ensure!(printed.contains(expected), "no {expected}: {printed}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ollama_command_chats_and_lists_what_runs() {
    story(async {
        let ollama = OllamaFixture::start().await?;
        ollama.wait_for_output(&["run", CHAT_MODEL, "Say hello."]).await?;
        let running = ollama.ollama(&["ps"]).await?;
        ensure!(running.contains(CHAT_MODEL), "{running}");
        Ok(())
    })
    .await;
}
