//! The web UI in a browser: the stories of `frontend/e2e`, in Chromium at a real Paddock with a real
//! Ollama.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    ollama::{CHAT_MODEL, EMBEDDING_MODEL, Ollama},
    paddock::Launch,
    story::story,
    testbed::repository,
};
use rstest::rstest;
use tokio::{process::Command, sync::Semaphore, time::timeout};

/// The time for the stories of one file. A browser takes seconds for a page if many tests run.
const STORIES_TIMEOUT: Duration = Duration::from_mins(30);
/// A registry where nothing listens, so that a pull from it fails at once.
const CLOSED_REGISTRY: &str = "127.0.0.1:9";

/// A browser uses more than one processor. Two at once would slow down each other's pages.
static BROWSER: Semaphore = Semaphore::const_new(1);

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_does_the_quickstart_in_a_browser(#[case] engine: Engine) {
    story(run_stories("quickstart", engine)).await;
}

#[rstest]
#[case::access("access")]
#[case::accessibility("accessibility")]
#[case::account("account")]
#[case::audit("audit")]
#[case::chat("chat")]
#[case::embeddings("embeddings")]
#[case::injection("injection")]
#[case::keys("keys")]
#[case::models("models")]
#[case::sessions("sessions")]
#[case::speed("speed")]
#[case::trouble("trouble")]
#[case::usage("usage")]
#[case::users("users")]
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_keep_their_promises_in_a_browser(#[case] file: &'static str) {
    story(run_stories(file, Engine::Sqlite)).await;
}

/// Runs `frontend/e2e/FILE.spec.ts` at a Paddock of its own.
async fn run_stories(file: &'static str, engine: Engine) -> Result<()> {
    let playwright = playwright()?;
    let _turn = BROWSER.acquire().await?;
    let ollama = Ollama::shared().await?;
    let database = Database::new(engine).await?;
    let launch = Launch::new(&["api"], database.url())?
        .ollama(ollama.url())
        .env("MODEL_REGISTRIES", &format!("http://{CLOSED_REGISTRY}"));
    let admin = launch.seed()?;
    let paddock = launch.start().await?;
    ensure_embedded(paddock.url()).await?;

    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("web").join(format!("{file}-{engine:?}"));
    let mut command = Command::new("node");
    command.arg(playwright).args(["test", "--config", "e2e/playwright.config.ts"]);
    // Playwright runs every file whose path contains the argument.
    command.arg(format!("/{file}.spec.ts")).current_dir(frontend()).env_clear();
    command.envs(["PATH", "HOME", "CHROME_BIN"].iter().filter_map(|&name| Some((name, std::env::var_os(name)?))));
    command.env("PADDOCK_URL", paddock.url()).env("E2E_OUTPUT", &results);
    command.env("PADDOCK_ADMIN_EMAIL", &admin.email).env("PADDOCK_ADMIN_PASSWORD", &admin.password);
    command.env("CHAT_MODEL", CHAT_MODEL).env("EMBEDDING_MODEL", EMBEDDING_MODEL);
    command.env("UNAVAILABLE_MODEL", format!("{CLOSED_REGISTRY}/library/nothing:latest"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(STORIES_TIMEOUT, command.output()).await;
    let output = output.with_context(|| format!("{file} did not end within {STORIES_TIMEOUT:?}"))?;
    let output = output.context("starting node")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let folder = results.display();
    ensure!(output.status.success(), "{file}: {}\n{printed}{errors}\npictures and traces: {folder}", output.status);
    Ok(())
}

fn frontend() -> PathBuf {
    repository().join("frontend")
}

/// The program that runs the stories.
fn playwright() -> Result<PathBuf> {
    let program = frontend().join("node_modules/@playwright/test/cli.js");
    ensure!(program.exists(), "{} is missing; `make ui-build` installs it", program.display());
    Ok(program)
}

/// Fails if the executable contains no UI.
async fn ensure_embedded(url: &str) -> Result<()> {
    let answer = reqwest::get(format!("{url}/ui/")).await?;
    let status = answer.status();
    ensure!(
        status.is_success(),
        "the executable has no web UI ({status}); run `make ui-build`, then build Paddock again"
    );
    Ok(())
}
