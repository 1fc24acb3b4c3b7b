//! What Docker Compose would start, started from its own command and environment.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    paddock::Launch,
    process::run,
    reaper,
    story::story,
};
use rstest::rstest;
use serde_json::Value;

use super::yaml;

const EXIT_TIMEOUT: Duration = Duration::from_secs(30);
/// A value for a signing secret as manuals show it.
const SAMPLE_SECRET: &str = "change-me-change-me-change-me-change-me";

/// `${NAME:-default}` becomes the default.
fn substitute(value: &str) -> String {
    match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|inner| inner.split_once(":-")) {
        Some((_, default)) => default.to_owned(),
        None => value.to_owned(),
    }
}

/// The launch of the service `app`, with the files and the volume of the container in `folder`, on
/// this database.
fn launch(file: &str, folder: &Path, database: &Database) -> Result<Launch> {
    let compose = yaml(file)?;
    let app = &compose["services"]["app"];
    let arguments: Vec<&str> =
        app["command"].as_array().context("a command")?.iter().filter_map(Value::as_str).collect();
    let mut launch = Launch::new(&arguments, "")?.env("JWT_SECRET", "").env("AUDIT_SIGNING_KEY", "");
    let addresses = ["LISTEN_ADDR", "METRICS_ADDR"];
    for (name, value) in app["environment"].as_object().context("an environment")? {
        let value = substitute(value.as_str().context("a text")?)
            .replace("/run/secrets", &folder.join("secrets").display().to_string())
            .replace("/var/lib/paddock", &folder.display().to_string());
        if !addresses.contains(&name.as_str()) {
            launch = launch.env(name, &value);
        }
    }
    let url: reqwest::Url = database.url().parse()?;
    Ok(launch
        .ollama("http://127.0.0.1:1")
        .env("DB_HOST", url.host_str().unwrap_or_default())
        .env("DB_PORT", &url.port().unwrap_or(5432).to_string())
        .env("DB_USER", url.username())
        .env("DB_NAME", url.path().trim_start_matches('/')))
}

/// Writes the secret files that the head of docker-compose.prod.yml describes.
fn write_secrets(folder: &Path, signing: &str) -> Result<()> {
    let secrets = folder.join("secrets");
    fs::create_dir(&secrets)?;
    let password = "a-password-of-postgresql";
    for (name, value) in [
        ("jwt-secret", signing),
        ("audit-signing-key", signing),
        ("db-password", password),
        ("admin-password", "meadow-gate-seven-lanterns"),
    ] {
        fs::write(secrets.join(name), format!("{value}\n"))?;
    }
    Ok(())
}

/// Random bytes as `openssl rand -hex 32` prints them.
fn random_secret() -> Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("random bytes")?;
    Ok(hex::encode(bytes))
}

#[rstest]
#[case::prod("docker-compose.prod.yml")]
#[case::dev("docker-compose.dev.yml")]
#[tokio::test]
async fn the_compose_file_starts_a_server_that_is_healthy(#[case] file: &str) {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        let folder = reaper::scratch_dir("compose")?;
        write_secrets(folder.path(), &random_secret()?)?;
        let launch = launch(file, folder.path(), &database)?;
        let _server = launch.clone().start().await?;
        run(&mut launch.command(&["healthcheck", "--ready"])?)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_production_compose_file_refuses_sample_secrets() {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        let folder = reaper::scratch_dir("compose")?;
        write_secrets(folder.path(), SAMPLE_SECRET)?;
        let server = launch("docker-compose.prod.yml", folder.path(), &database)?.spawn()?;
        let status = server.process().wait_for_exit(EXIT_TIMEOUT).await?;
        ensure!(status.code() == Some(2), "{status}");
        ensure!(!server.process().log().text().contains(SAMPLE_SECRET));
        Ok(())
    })
    .await;
}
