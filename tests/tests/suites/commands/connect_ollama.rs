//! The real `ollama` command, which sends no key, through `paddock connect` to a real Ollama.

use std::process::Command;

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

    /// Runs `ollama` with these arguments. Its standard output.
    async fn ollama(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(Part::Ollama.locate()?);
        command.args(arguments).env_clear().env("HOME", self.home.path()).env("OLLAMA_HOST", &self.connection.url);
        tokio::task::spawn_blocking(move || run(&mut command)).await?.with_context(|| arguments.join(" "))
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
        let printed = ollama.ollama(&["run", CHAT_MODEL, "Say hello."]).await?;
        ensure!(!printed.trim().is_empty(), "no answer");
        let running = ollama.ollama(&["ps"]).await?;
        ensure!(running.contains(CHAT_MODEL), "{running}");
        Ok(())
    })
    .await;
}
