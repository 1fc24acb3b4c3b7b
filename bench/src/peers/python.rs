//! The gateways in Python, which `tests/testbed/install` installs from PyPI.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use paddock_tests::{
    process::{Process, Signal, free_port, run},
    reaper,
    testbed::Part,
};

use super::Peer;
use crate::frame::Dialect;

/// LiteLLM imports for half a minute on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(3);
/// LiteLLM accepts only keys with this beginning.
const KEY: &str = "sk-paddock-bench-0123456789";

/// A gateway of the kind that Paddock replaces: FastAPI, httpx, and keys in SQLite.
pub(super) async fn start_fastapi(upstream: &str, prefix: &[String]) -> Result<(Peer, Process)> {
    let python = Part::Fastapi.locate()?;
    let folder = reaper::scratch_dir("fastapi")?.keep();
    fs::write(folder.join("gateway.py"), include_str!("gateway.py"))?;
    run(Command::new(&python).arg("gateway.py").args(["keys.db", KEY]).current_dir(&folder))?;
    let port = free_port()?.to_string();
    let uvicorn = ["-m", "uvicorn", "gateway:app", "--host", "127.0.0.1", "--no-access-log", "--log-level", "warning"];
    let mut command = prefixed(prefix, &python.to_string_lossy())?;
    command.args(uvicorn).args(["--port", &port]).current_dir(&folder);
    command.env("UPSTREAM", upstream).env("KEYS", "keys.db");
    start("fastapi", &[Dialect::Native, Dialect::OpenAi], command, &port).await
}

/// The proxy of LiteLLM with one key.
pub(super) async fn start_litellm(upstream: &str, prefix: &[String]) -> Result<(Peer, Process)> {
    let python = Part::Litellm.locate()?;
    let folder = reaper::scratch_dir("litellm")?.keep();
    let configuration = format!(
        "model_list:\n  - model_name: \"smollm2:135m\"\n    litellm_params:\n      model: \"openai/smollm2:135m\"\n      \
         api_base: \"{upstream}/v1\"\n      api_key: \"none\"\ngeneral_settings:\n  master_key: \"{KEY}\"\n"
    );
    fs::write(folder.join("config.yaml"), configuration)?;
    let port = free_port()?.to_string();
    let mut command = prefixed(prefix, &python.with_file_name("litellm").to_string_lossy())?;
    command.args(["--config", "config.yaml", "--host", "127.0.0.1", "--port", &port, "--telemetry", "False"]);
    // Nothing is downloaded, and each request writes no line.
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR").current_dir(&folder);
    start("litellm", &[Dialect::OpenAi], command, &port).await
}

fn prefixed(prefix: &[String], program: &str) -> Result<Command> {
    let mut words = prefix.iter().map(String::as_str).chain([program]);
    let mut command = Command::new(words.next().context("a program")?);
    command.args(words);
    Ok(command)
}

async fn start(
    name: &'static str,
    dialects: &'static [Dialect],
    command: Command,
    port: &str,
) -> Result<(Peer, Process)> {
    let process = Process::start(name, command, Signal::Term)?;
    let url = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    process
        .wait_until_ready(START_TIMEOUT, async || {
            client.get(format!("{url}/v1/models")).bearer_auth(KEY).send().await?.error_for_status()?;
            Ok(())
        })
        .await?;
    let id = process.id();
    Ok((Peer { name, url, key: KEY.to_owned(), dialects, process: Some(id), is_slow: true }, process))
}
