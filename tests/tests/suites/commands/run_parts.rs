//! The parts of `paddock run` that can be left out, and the web UI in its table.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Launch, Paddock},
    process::{Process, Signal},
    reaper,
    story::story,
};

use super::{assert_refused, paddock, successful};

/// The row of the table about this part.
fn row<'a>(output: &'a str, part: &str) -> Result<&'a str> {
    output.lines().find(|line| line.starts_with(&format!("{part} "))).with_context(|| format!("no {part} in {output}"))
}

/// Waits for the table, and returns the whole output.
async fn table(process: &Process) -> Result<String> {
    process
        .wait_until_ready(Duration::from_mins(1), async || {
            let output = process.log().text();
            ensure!(output.contains("Try it:"), "the table is not complete");
            Ok(output)
        })
        .await
}

async fn start(arguments: &[&str]) -> Result<(Database, Paddock, String)> {
    let database = Database::new(Engine::Sqlite).await?;
    let paddock = Launch::new(arguments, database.url())?.spawn()?;
    let output = table(paddock.process()).await?;
    Ok((database, paddock, output))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_the_web_ui() {
    story(async {
        let (_database, paddock, output) = start(&["run"]).await?;
        ensure!(row(&output, "web ui")?.contains(&format!("{}/ui/", paddock.url())), "{output}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frontend_serves_everything_but_the_web_ui() {
    story(async {
        let (_database, paddock, output) = start(&["run", "--no-frontend"]).await?;
        ensure!(row(&output, "web ui")?.contains("--no-frontend"), "{output}");
        let status = async |path: &str| Ok::<_, anyhow::Error>(paddock.caller("x").get(path).send().await?.status());
        for path in ["/ui", "/ui/", "/ui/index.html"] {
            ensure!(status(path).await? == 404, "{path}");
        }
        ensure!(status("/healthz").await? == 200);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backend_prepares_the_database_and_ends() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["run", "--no-backend"], database.url())?;
        let output = successful(launch.command(&["run", "--no-backend"])?.output()?)?;
        ensure!(output.contains("BOOTSTRAP_ADMIN_API_KEY="), "{output}");
        for part in ["api, gateway", "web ui"] {
            ensure!(row(&output, part)?.contains(" off"), "{output}");
        }
        ensure!(!output.contains("/metrics") && !output.contains("Try it:"), "{output}");
        let users = database.texts("SELECT email FROM users").await?;
        assert_eq!(users, ["admin@example.com"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_browser_opens_the_web_ui() {
    story(async {
        // A machine with a browser: a program that notes what it is to open.
        let machine = reaper::scratch_dir("browser")?;
        let (program, opened) = (machine.path().join("xdg-open"), machine.path().join("opened"));
        fs::write(&program, format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["run", "--open-browser"], database.url())?;
        let run = |path: String| -> Result<Process> {
            let mut command: Command = launch.command(&["run", "--open-browser"])?;
            Process::start(
                "paddock",
                {
                    command.env("PATH", path);
                    command
                },
                Signal::Term,
            )
        };
        let process = run(format!("{}:/usr/bin:/bin", machine.path().display()))?;
        let url = eventually("the browser to open", Duration::from_mins(1), async || {
            let text = fs::read_to_string(&opened)?;
            ensure!(text.ends_with('\n'), "not written yet");
            Ok(text.trim_end().to_owned())
        })
        .await?;
        ensure!(row(&process.log().text(), "web ui")?.contains(&url) && url.ends_with("/ui/"), "{url}");
        process.signal(Signal::Term)?;
        process.wait_for_exit(Duration::from_secs(30)).await?;

        let process = run("/nowhere".to_owned())?;
        eventually("a hint", Duration::from_mins(1), async || {
            let output = process.log().text();
            ensure!(output.contains("hint: ") && output.contains(&format!("open {url} in a browser")), "{output}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn flags_that_exclude_each_other_are_refused() {
    story(async {
        for flags in [
            ["--no-backend", "--open-browser"].as_slice(),
            &["--no-frontend", "--open-browser"],
            &["--no-backend", "--try-model", "x"],
        ] {
            let output = paddock(&[&["run"], flags].concat(), &[])?;
            ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{flags:?}: {output:?}");
        }
        let output = paddock(&["run", "--no-backend"], &[("JWT_ALG", "none")])?;
        assert_refused(&output, 2, &["JWT_ALG"])
    })
    .await;
}
