//! `paddock run`: the table that it prints at its start, its secrets, and that a restart changes
//! nothing.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::{FakeOllama, Script, chat_lines},
    paddock::{Bootstrap, Launch},
    process::{Process, Signal, free_port},
    reaper,
    story::story,
};
use rstest::rstest;
use tempfile::TempDir;

use super::{assert_refused, bare_command, successful};

const MODEL: &str = "smollm2:135m";
const PASSWORD: &str = "violet harbour tangle 93";
const OTHER_PASSWORD: &str = "marble kettle orchard 58";

/// A command in this folder, with nothing set but addresses and the time to drain.
fn command_in(folder: &Path, arguments: &[&str], url: &str, ollama: &str) -> Result<Command> {
    let mut command = bare_command(arguments)?;
    command.env_remove("ENVIRONMENT").env("LISTEN_ADDR", url.trim_start_matches("http://"));
    command.env("METRICS_ADDR", format!("127.0.0.1:{}", free_port()?)).env("OLLAMA_BASE_URL", ollama);
    command.env("DRAIN_TIMEOUT", "1s").current_dir(folder);
    Ok(command)
}

fn unused_url() -> Result<String> {
    Ok(format!("http://127.0.0.1:{}", free_port()?))
}

/// The output of a start, once it is complete.
async fn start_output(process: &Process) -> Result<String> {
    process
        .wait_until_ready(Duration::from_mins(1), async || {
            let output = process.log().text();
            ensure!(output.contains("Try it:"), "the table is not complete");
            Ok(output)
        })
        .await
}

async fn terminate(process: &Process) -> Result<()> {
    process.signal(Signal::Term)?;
    let status = process.wait_for_exit(Duration::from_secs(30)).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The row of the table about this part.
fn row<'a>(output: &'a str, part: &str) -> Result<&'a str> {
    output.lines().find(|line| line.starts_with(&format!("{part} "))).with_context(|| format!("no {part} in {output}"))
}

/// `paddock run` in an empty folder, without a database or secrets of its own.
struct EmptyFolder {
    folder: TempDir,
    ollama: FakeOllama,
    url: String,
}

impl EmptyFolder {
    async fn new() -> Result<Self> {
        let (folder, ollama) = (reaper::scratch_dir("run")?, FakeOllama::start(&[MODEL]).await?);
        Ok(Self { folder, ollama, url: unused_url()? })
    }

    /// Starts the server and ends it; its output.
    async fn run_once(&self) -> Result<String> {
        let command = command_in(self.folder.path(), &["run"], &self.url, &self.ollama.url())?;
        let process = Process::start("paddock", command, Signal::Term)?;
        let output = start_output(&process).await?;
        terminate(&process).await?;
        Ok(output)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_without_settings_prints_where_everything_is() {
    story(async {
        let empty = EmptyFolder::new().await?;
        let output = empty.run_once().await?;
        Bootstrap::from_output(&output)?;
        for value in [empty.url.as_str(), "paddock.db", &empty.ollama.url()] {
            ensure!(output.contains(value), "no {value} in {output}");
        }
        for part in ["first admin", "operator"] {
            row(&output, part)?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_prints_secrets_at_the_first_start_only() {
    story(async {
        let empty = EmptyFolder::new().await?;
        let admin = Bootstrap::from_output(&empty.run_once().await?)?;
        let second = empty.run_once().await?;
        for secret in [&admin.key, &admin.password] {
            ensure!(!second.contains(secret.as_str()), "printed twice: {second}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_creates_files_that_only_their_owner_reads() {
    story(async {
        let empty = EmptyFolder::new().await?;
        empty.run_once().await?;
        for file in ["paddock.db", "paddock.db.jwt-secret", "paddock.db.audit-key"] {
            let mode = empty.folder.path().join(file).metadata()?.permissions().mode();
            ensure!(mode & 0o777 == 0o600, "{file} has mode {mode:o}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_serves_and_prints_secrets_when_the_tried_model_fails() {
    story(async {
        let (folder, url) = (reaper::scratch_dir("run")?, unused_url()?);
        let command = command_in(folder.path(), &["run", "--try-model", "nope"], &url, &unused_url()?)?;
        let process = Process::start("paddock", command, Signal::Term)?;
        let output = start_output(&process).await?;
        let admin = Bootstrap::from_output(&output)?;
        let chat = row(&output, "chat")?;
        ensure!(chat.contains("nope") && chat.contains("503"), "{chat}");
        let me = reqwest::Client::new().get(format!("{url}/me")).bearer_auth(&admin.key).send().await?;
        ensure!(me.status() == 200, "{}", me.status());
        terminate(&process).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_prints_secrets_before_it_tries_the_model() {
    story(async {
        let ollama = FakeOllama::start(&["slow"]).await?;
        let never = Script::ndjson(chat_lines("slow", 1)).headers_after(Duration::from_hours(1));
        ollama.script("/api/chat", never);
        let folder = reaper::scratch_dir("run")?;
        let command = command_in(folder.path(), &["run", "--try-model", "slow"], &unused_url()?, &ollama.url())?;
        let process = Process::start("paddock", command, Signal::Term)?;
        process
            .wait_until_ready(Duration::from_mins(1), async || {
                ensure!(!ollama.requests("/api/chat").is_empty(), "the model is not tried yet");
                Ok(())
            })
            .await?;
        terminate(&process).await?;
        Bootstrap::from_output(&process.log().text())?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_cannot_be_printed_are_revoked() {
    story(async {
        let folder = reaper::scratch_dir("run")?;
        let mut command = command_in(folder.path(), &["run"], &unused_url()?, &unused_url()?)?;
        // Every write to /dev/full fails.
        command.env("LOG_LEVEL", "error").stdout(std::fs::File::options().write(true).open("/dev/full")?);
        assert_refused(&command.output()?, 1, &["revoked", "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"])
    })
    .await;
}

/// A database whose admin has `PASSWORD`, and starts of `paddock run` on it.
struct Restarts {
    database: Database,
    /// Answers as long as the servers ask it.
    _ollama: FakeOllama,
    launch: Launch,
}

impl Restarts {
    async fn new(engine: Engine) -> Result<Self> {
        let (database, ollama) = (Database::new(engine).await?, FakeOllama::start(&[MODEL]).await?);
        let launch = Launch::new(&["run"], database.url())?.ollama(&ollama.url());
        let restarts = Self { database, _ollama: ollama, launch };
        restarts.run_once(PASSWORD).await?;
        Ok(restarts)
    }

    /// Starts a server with this bootstrap password and ends it; the row about the first admin.
    async fn run_once(&self, password: &str) -> Result<String> {
        let paddock = self.launch.clone().env("ADMIN_BOOTSTRAP_PASSWORD", password).spawn()?;
        let output = start_output(paddock.process()).await?;
        terminate(paddock.process()).await?;
        Ok(row(&output, "first admin")?.to_owned())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn starting_again_changes_nothing(#[case] engine: Engine) {
    story(async {
        let restarts = Restarts::new(engine).await?;
        let before = restarts.database.contents(&[]).await?;
        for password in [PASSWORD, OTHER_PASSWORD] {
            restarts.run_once(password).await?;
            for (table, rows) in restarts.database.contents(&[]).await? {
                ensure!(before.get(&table) == Some(&rows), "{password}: {table} is another: {rows:?}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_prints_whether_the_first_admin_can_sign_in() {
    story(async {
        let restarts = Restarts::new(Engine::Sqlite).await?;
        let signs_in = restarts.run_once(PASSWORD).await?;
        let other_password = restarts.run_once(OTHER_PASSWORD).await?;
        // Another admin exists, so the first may be disabled.
        let arguments = ["user", "create", "root@example.com", "--admin", "--local"];
        successful(restarts.launch.command(&arguments)?.output()?)?;
        restarts.database.execute("UPDATE users SET is_active = FALSE WHERE email = 'admin@example.com'").await?;
        let disabled = restarts.run_once(PASSWORD).await?;
        ensure!(signs_in.contains("signs in"), "{signs_in}");
        ensure!(other_password.contains("has another password"), "{other_password}");
        ensure!(disabled.contains("is disabled"), "{disabled}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_tried_with_the_password_where_no_key_is_new() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&[MODEL]).await?);
        ollama.script("/api/chat", Script::ndjson(chat_lines(MODEL, 0)));
        let launch = Launch::new(&["run", "--try-model", MODEL], database.url())?
            .ollama(&ollama.url())
            .env("ADMIN_BOOTSTRAP_PASSWORD", PASSWORD);
        for verb in ["migrate", "seed"] {
            successful(launch.command(&[verb])?.output()?)?;
        }
        for (password, chats) in [(PASSWORD, 1), (OTHER_PASSWORD, 1)] {
            let paddock = launch.clone().env("ADMIN_BOOTSTRAP_PASSWORD", password).spawn()?;
            row(&start_output(paddock.process()).await?, "chat")?;
            terminate(paddock.process()).await?;
            ensure!(ollama.requests("/api/chat").len() == chats, "{password}: {:?}", ollama.requests("/api/chat"));
        }
        let events = database.texts("SELECT event_type FROM audit_logs ORDER BY id").await?;
        assert_eq!(events, ["admin_bootstrapped", "api_key_issued", "login_success"]);
        Ok(())
    })
    .await;
}
