//! The shell commands of a page, and what `tests/documentation/commands.yaml` says of each.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::testbed::repository;
use serde::Deserialize;

const TABLE: &str = "tests/documentation/commands.yaml";

/// Where the commands of a page run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Machine {
    /// Beside a server on PostgreSQL.
    Server,
    /// The same, with a Kubernetes control plane.
    Cluster,
    /// Nowhere: each command is left out with a reason.
    None,
}

/// What the table says of a page. A name in a map is the beginning of a command; the longest name
/// applies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) machine: Machine,
    /// Commands that run first.
    #[serde(default)]
    pub(super) begin: String,
    /// Texts of the page and what stands in their place on the machine.
    #[serde(default)]
    texts: BTreeMap<String, String>,
    /// Commands that run in place of others.
    #[serde(default)]
    replaced: BTreeMap<String, String>,
    /// Reasons why commands do not run. `story NAME` in one names the test that covers the command.
    #[serde(default)]
    left_out: BTreeMap<String, String>,
}

/// What happens to a command.
pub(super) enum Treatment<'a> {
    Run,
    Replaced(&'a str),
    LeftOut,
}

impl Rules {
    /// What happens to a command.
    pub(super) fn treatment(&self, command: &str) -> Treatment<'_> {
        let replaced = self.replaced.iter().map(|(name, text)| (name, Treatment::Replaced(text)));
        let left_out = self.left_out.keys().map(|name| (name, Treatment::LeftOut));
        let matching = replaced.chain(left_out).filter(|(name, _)| command.starts_with(name.as_str()));
        let longest = matching.max_by_key(|(name, _)| name.len());
        longest.map_or(Treatment::Run, |(_, treatment)| treatment)
    }

    /// The names in the table.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.replaced.keys().chain(self.left_out.keys())
    }

    /// The reasons why commands do not run.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &String> {
        self.left_out.values()
    }

    /// A command with the texts of the machine.
    pub(super) fn with_texts(&self, command: &str) -> String {
        self.texts.iter().fold(command.to_owned(), |command, (text, here)| command.replace(text, here))
    }
}

/// The table, by page.
pub(super) fn rules() -> Result<BTreeMap<String, Rules>> {
    let text = fs::read_to_string(repository().join(TABLE))?;
    serde_yaml_ng::from_str(&text).context(TABLE)
}

/// The pages that have commands.
pub(super) fn pages() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in ["", "docs", "charts/paddock"] {
        for entry in fs::read_dir(repository().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == "md") {
                let page = path.strip_prefix(repository())?.to_string_lossy().into_owned();
                if !commands(&page)?.is_empty() {
                    found.push(page);
                }
            }
        }
    }
    Ok(found)
}

/// The commands of a page, in order, each on one line without its comment.
pub(super) fn commands(page: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(repository().join(page)).with_context(|| page.to_owned())?;
    let mut found: Vec<String> = Vec::new();
    // The indentation of the open block.
    let mut block = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let indentation = line.len() - line.trim_start().len();
        match (block, trimmed.strip_prefix("```")) {
            (None, Some("sh" | "bash")) => block = Some(indentation),
            (Some(_), Some(_)) => block = None,
            (Some(base), None) if !trimmed.is_empty() && !trimmed.starts_with('#') => {
                let command = without_comment(trimmed);
                let continues = indentation > base || command == "done";
                match found.last_mut().filter(|_| continues) {
                    Some(last) => join(last, command),
                    None => found.push(command.to_owned()),
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The comment of a command follows at least two spaces.
fn without_comment(line: &str) -> &str {
    line.split("  #").next().unwrap_or(line).trim_end()
}

/// Appends a continuation line to a command.
fn join(command: &mut String, line: &str) {
    if command.ends_with('\\') {
        command.pop();
    } else if !command.ends_with(['|', ' ']) {
        // The lines of a loop.
        command.push_str(if command.ends_with(" do") { " " } else { "; " });
    }
    command.push_str(line);
}

/// Asserts that the table and the page agree: each name in the table begins a command, and a page
/// without a machine has a reason for each command.
pub(super) fn check(page: &str, rules: &Rules) -> Result<()> {
    let commands = commands(page)?;
    for name in rules.names() {
        ensure!(commands.iter().any(|command| command.starts_with(name)), "{TABLE}: {page} has no `{name}`");
    }
    for command in &commands {
        let is_run = matches!(rules.treatment(command), Treatment::Run);
        ensure!(!is_run || rules.machine != Machine::None, "{TABLE}: nothing runs `{command}` of {page}");
    }
    Ok(())
}
