//! The executable as its user meets it at a prompt: what it says, and with which exit code it ends; and what a server of it tells
//! those who run it.

mod audit;
mod config;
mod observability;
mod otlp_collector;
mod postgres_errors;
mod run;
mod secret_leaks;
mod seed;
mod server;
mod startup;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::paddock::Launch;
use paddock_tests::reaper;
use serde_json::Value;

/// Somewhere nobody listens.
const UNREACHABLE_DATABASE: &str = "postgres://app:app@127.0.0.1:1/app";
const STRONG_SECRET: &str = "0f5c1e7a94b2d8836e0a7f4c2b9d1e5806c3a7f29e4b8d10";

/// Runs it in an empty folder with these variables and no others.
fn paddock(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let folder = reaper::scratch_dir("prompt")?;
    let mut command = bare_command(arguments)?;
    Ok(command.current_dir(folder.path()).envs(variables.iter().copied()).output()?)
}

/// Without any of the settings that tests start servers with.
fn bare_command(arguments: &[&str]) -> Result<Command> {
    let mut command = Launch::new(arguments, "unset")?.command(arguments)?;
    for name in ["DATABASE_URL", "JWT_SECRET", "AUDIT_SIGNING_KEY", "LISTEN_ADDR", "METRICS_ADDR"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// It ended with this code, and said all these words on one line of standard error and nothing else.
fn assert_refused(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "{}: {said}", output.status);
    ensure!(said.lines().count() == 1, "more than one line: {said}");
    ensure!(words.iter().all(|word| said.contains(word)), "not all of {words:?}: {said}");
    Ok(())
}

/// It went well; its standard output.
fn said(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The same as JSON.
fn told(output: Output) -> Result<Value> {
    let text = said(output)?;
    serde_json::from_str(&text).with_context(|| text)
}

/// Runs it with this on its standard input.
fn with_input(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}
