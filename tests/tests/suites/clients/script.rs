//! Runs the scripts of clients.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    ollama::{CHAT_MODEL, EMBEDDING_MODEL},
    reaper,
    testbed::{Part, repository},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::{THINKING_MODEL, TOOL_MODEL};

/// The time for all calls of one script. A call takes seconds if many tests run.
const SCRIPT_TIMEOUT: Duration = Duration::from_mins(15);

/// What runs a script.
#[derive(Clone, Copy, Debug)]
pub(super) enum Runtime {
    Python,
    LlamaIndex,
    Node,
}

/// A copy of the scripts in a folder where the runtime finds the client.
#[derive(Debug)]
pub(super) struct Script {
    program: PathBuf,
    file: &'static str,
    folder: TempDir,
}

impl Script {
    /// Errors: the testbed lacks the client.
    pub(super) fn prepare(file: &'static str, runtime: Runtime) -> Result<Self> {
        let folder = reaper::scratch_dir("clients")?;
        let program = match runtime {
            Runtime::Python => Part::Python.locate()?,
            Runtime::LlamaIndex => Part::LlamaIndex.locate()?,
            Runtime::Node => {
                // Node looks for packages beside the script only.
                symlink(Part::NodeClients.locate()?.join("node_modules"), folder.path().join("node_modules"))?;
                PathBuf::from("node")
            }
        };
        for entry in fs::read_dir(repository().join("tests/clients"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
            }
        }
        Ok(Self { program, file, folder })
    }

    /// Makes all calls of the script at a server, and returns their transcripts.
    ///
    /// Errors: a call did not end as the script expects, with the script's output.
    pub(super) async fn run(&self, base_url: &str, key: &str) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.program);
        command.arg(self.file).current_dir(self.folder.path()).env_clear();
        command.envs(["PATH", "HOME"].iter().filter_map(|&name| Some((name, std::env::var_os(name)?))));
        command.env("BASE_URL", base_url).env("KEY", key);
        command.env("CHAT_MODEL", CHAT_MODEL).env("EMBEDDING_MODEL", EMBEDDING_MODEL);
        command.env("TOOL_MODEL", TOOL_MODEL).env("THINKING_MODEL", THINKING_MODEL);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(SCRIPT_TIMEOUT, command.output()).await;
        let output = output.with_context(|| format!("{} did not end within {SCRIPT_TIMEOUT:?}", self.file))??;
        let printed = String::from_utf8(output.stdout)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} at {base_url}: {}\n{printed}{errors}", self.file, output.status);
        printed.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}
