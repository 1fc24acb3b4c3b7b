//! Opens the web UI in the browser of this machine.

use std::process::{Command, Stdio};

use anyhow::Context as _;

/// The program that opens a URL in the user's browser.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Opens the URL. Does not wait for the browser. Fails if this machine has no program to open it.
pub(super) fn open(url: &str) -> anyhow::Result<()> {
    let mut command = Command::new(OPENER);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {OPENER}"))?;
    // Waited for, so that no ended process stays behind.
    std::thread::spawn(move || child.wait());
    Ok(())
}
