//! The executable at a prompt: output, exit codes and configuration; and the log, traces and
//! metrics of a server.

mod addresses;
mod audit;
mod config;
mod connect;
mod connect_ollama;
mod containers;
mod contexts;
mod log_lines;
mod login;
mod login_errors;
mod migration_lock;
mod observability;
mod otlp_collector;
mod poolers;
mod postgres_errors;
mod run;
mod run_parts;
mod secret_leaks;
mod seed;
mod server;
mod settings;
mod startup;
mod variables;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{paddock::Launch, reaper};
use serde_json::Value;

/// The URL of a PostgreSQL where no server listens.
const UNREACHABLE_DATABASE: &str = "postgres://app:app@127.0.0.1:1/app";
const STRONG_SECRET: &str = "0f5c1e7a94b2d8836e0a7f4c2b9d1e5806c3a7f29e4b8d10";

/// Runs a command in an empty folder with these variables only.
fn paddock(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let folder = reaper::scratch_dir("prompt")?;
    let mut command = bare_command(arguments)?;
    Ok(command.current_dir(folder.path()).envs(variables.iter().copied()).output()?)
}

/// A command without the settings that tests start servers with.
fn bare_command(arguments: &[&str]) -> Result<Command> {
    let mut command = Launch::new(arguments, "unset")?.command(arguments)?;
    for name in ["DATABASE_URL", "JWT_SECRET", "AUDIT_SIGNING_KEY", "LISTEN_ADDR", "METRICS_ADDR"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Asserts that the command ended with this code, and printed one line with all these words to
/// standard error.
fn assert_refused(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "{}: {error}", output.status);
    ensure!(error.lines().count() == 1, "more than one line: {error}");
    ensure!(words.iter().all(|word| error.contains(word)), "not all of {words:?}: {error}");
    Ok(())
}

/// The standard output of a successful command.
fn successful(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The standard output of a successful command, as JSON.
fn successful_json(output: Output) -> Result<Value> {
    let text = successful(output)?;
    serde_json::from_str(&text).with_context(|| text)
}

/// Runs a command with this standard input.
fn with_input(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}
