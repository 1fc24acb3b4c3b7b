//! `paddock run`: what it tells and when, and that a start leaves nothing behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::fake_ollama::{FakeOllama, Script, chat_lines};
use paddock_tests::paddock::{Bootstrap, Launch};
use paddock_tests::process::{Process, Signal, free_port};
use paddock_tests::reaper;
use paddock_tests::story::story;
use rstest::rstest;

use super::{assert_refused, bare_command};

const PASSWORD: &str = "violet harbour tangle 93";

/// A command in a folder of its own, with nothing set but where it listens and which Ollama it asks.
fn fresh(arguments: &[&str], folder: &Path, url: &str, ollama: &str) -> Result<Command> {
    let mut command = bare_command(arguments)?;
    command.env_remove("ENVIRONMENT").env("LISTEN_ADDR", url.trim_start_matches("http://"));
    command.env("METRICS_ADDR", format!("127.0.0.1:{}", free_port()?)).env("OLLAMA_BASE_URL", ollama);
    command.env("DRAIN_TIMEOUT", "1s").current_dir(folder);
    Ok(command)
}

fn unused() -> Result<String> {
    Ok(format!("http://127.0.0.1:{}", free_port()?))
}

/// What it has said, once it has said all that it has to say at its start.
async fn started(process: &Process) -> Result<String> {
    process
        .wait_until_ready(Duration::from_mins(1), async || {
            let said = process.log().text();
            ensure!(said.contains("Try it:"), "no table yet");
            Ok(said)
        })
        .await
}

async fn end(process: &Process) -> Result<()> {
    process.signal(Signal::Term)?;
    let status = process.wait_for_exit(Duration::from_secs(30)).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The row of the table about this part.
fn row<'s>(said: &'s str, part: &str) -> Result<&'s str> {
    said.lines().find(|line| line.starts_with(&format!("{part} "))).with_context(|| format!("no {part} in {said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_answer_costs_no_secret_and_no_server() {
    story(async {
        let (folder, url) = (reaper::scratch_dir("run")?, unused()?);
        let command = fresh(&["run", "--try-model", "nope"], folder.path(), &url, &unused()?)?;
        let process = Process::start("paddock", command, Signal::Term)?;
        let said = started(&process).await?;
        let admin = Bootstrap::from_output(&said)?;
        let chat = row(&said, "chat")?;
        ensure!(chat.contains("nope") && chat.contains("no answer") && chat.contains("503"), "{chat}");
        let me = reqwest::Client::new().get(format!("{url}/me")).bearer_auth(&admin.key).send().await?;
        ensure!(me.status() == 200, "{}", me.status());
        end(&process).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_told_before_anything_is_waited_for() {
    story(async {
        let ollama = FakeOllama::start(&["slow"]).await?;
        let never = Script::ndjson(chat_lines("slow", 1)).headers_after(Duration::from_hours(1));
        ollama.script("/api/chat", never);
        let folder = reaper::scratch_dir("run")?;
        let command = fresh(&["run", "--try-model", "slow"], folder.path(), &unused()?, &ollama.url())?;
        let process = Process::start("paddock", command, Signal::Term)?;
        process
            .wait_until_ready(Duration::from_mins(1), async || {
                ensure!(!ollama.requests("/api/chat").is_empty(), "it is not tried yet");
                Ok(())
            })
            .await?;
        end(&process).await?;
        Bootstrap::from_output(&process.log().text())?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_cannot_be_told_do_not_stay_in_force() {
    story(async {
        let folder = reaper::scratch_dir("run")?;
        let mut command = fresh(&["run"], folder.path(), &unused()?, &unused()?)?;
        // It takes no bytes, whoever writes.
        command.env("LOG_LEVEL", "error").stdout(std::fs::File::options().write(true).open("/dev/full")?);
        let output = command.output()?;
        assert_refused(&output, 1, &["the key that was made is revoked", "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"])
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn starting_again_changes_nothing(#[case] engine: Engine) {
    story(async {
        let (database, ollama) = (Database::new(engine).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let launch = Launch::new(&["run"], database.url())?.ollama(&ollama.url());
        let start = async |password: &str| -> Result<String> {
            let paddock = launch.clone().env("ADMIN_BOOTSTRAP_PASSWORD", password).spawn()?;
            let said = started(paddock.process()).await?;
            end(paddock.process()).await?;
            Ok(said)
        };
        let said = start(PASSWORD).await?;
        ensure!(row(&said, "first admin")?.contains("signs in"), "{said}");
        let before = database.contents(&[]).await?;
        for (password, words) in [(PASSWORD, "signs in"), ("marble kettle orchard 58", "has another password")] {
            let said = start(password).await?;
            ensure!(row(&said, "first admin")?.contains(words), "{said}");
            for (table, rows) in database.contents(&[]).await? {
                ensure!(before.get(&table) == Some(&rows), "{words}: {table} is another: {rows:?}");
            }
        }
        // Somebody else administers meanwhile.
        let output = launch.command(&["user", "create", "root@example.com", "--admin", "--local"])?.output()?;
        ensure!(output.status.success(), "{output:?}");
        database.execute("UPDATE users SET is_active = FALSE WHERE email = 'admin@example.com'").await?;
        let said = start(PASSWORD).await?;
        ensure!(row(&said, "first admin")?.contains("is disabled"), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_tried_with_the_password_where_no_key_is_new() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        ollama.script("/api/chat", Script::ndjson(chat_lines("smollm2:135m", 0)));
        let launch = Launch::new(&["run", "--try-model", "smollm2:135m"], database.url())?
            .ollama(&ollama.url())
            .env("ADMIN_BOOTSTRAP_PASSWORD", PASSWORD);
        launch.seed()?;
        for (password, words) in [(PASSWORD, "answered"), ("marble kettle orchard 58", "not tried")] {
            let paddock = launch.clone().env("ADMIN_BOOTSTRAP_PASSWORD", password).spawn()?;
            let said = started(paddock.process()).await?;
            ensure!(row(&said, "chat")?.contains(words), "{said}");
            end(paddock.process()).await?;
        }
        let events = database.texts("SELECT event_type FROM audit_logs ORDER BY id").await?;
        assert_eq!(events, ["admin_bootstrapped", "api_key_issued", "login_success"], "it was asked for once");
        Ok(())
    })
    .await;
}
