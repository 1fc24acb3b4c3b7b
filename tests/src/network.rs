//! A network of its own for one test, in which every address belongs to this machine. A connection
//! to any address of the world reaches a listener of the test, and nothing leaves the machine.

use std::{ffi::OsStr, process::Stdio};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::testbed::{Missing, Part};

/// Set in the process that runs in the network.
const INSIDE: &str = "PADDOCK_TEST_NETWORK";
/// Routes every address to the loopback interface, then runs the arguments.
const SETUP: &str = r#"ip link set lo up && ip route add local 0.0.0.0/0 dev lo && exec "$0" "$@""#;

/// Runs the current test again, in a process in a network of its own. Returns true in that process,
/// and false in the caller after that process has passed the test.
///
/// Errors: [`Missing`], when this process may not create a network; the output of a failed test.
pub async fn is_isolated() -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    if !command("true", &[]).status().await.is_ok_and(|status| status.success()) {
        return Err(Missing(Part::Network).into());
    }
    let test = std::thread::current().name().context("the test has a name")?.to_owned();
    let arguments = [test.as_str(), "--exact", "--nocapture", "--test-threads=1"];
    let output = command(std::env::current_exe()?, &arguments).env(INSIDE, "1").output().await?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !said.contains("1 passed") {
        bail!("in its own network: {}\n{said}", output.status);
    }
    Ok(false)
}

fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", SETUP]).arg(program).args(arguments).stdin(Stdio::null());
    command
}
