//! What a run found: figures beside those of peers from the same run, with the machine they are from.

use std::fmt::Write as _;

use serde::Serialize;

use super::gateway::Gateway;
use super::lists::Lists;
use super::login::Login;
use super::memory::Memory;
use super::writes::Writes;

/// Where and how it was measured.
#[derive(Default, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) pinned: bool,
    pub(super) load_before: String,
    pub(super) load_after: String,
    pub(super) paddock: String,
    pub(super) commit: String,
    pub(super) optimised: bool,
    pub(super) nginx: String,
    pub(super) wrk: String,
    pub(super) postgres: String,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
}

/// The whole report, as it is written to `report.json`. Sections that were not run are absent.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<Login>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) writes: Option<Writes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lists: Option<Lists>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Memory>,
}

impl Report {
    /// The same for people.
    pub(super) fn markdown(&self) -> String {
        let sections = [
            self.gateway.as_ref().map(Gateway::markdown),
            self.login.as_ref().map(Login::markdown),
            self.writes.as_ref().map(Writes::markdown),
            self.lists.as_ref().map(Lists::markdown),
            self.memory.as_ref().map(Memory::markdown),
        ];
        let mut text = sections.into_iter().flatten().collect::<Vec<_>>().join("\n");
        let m = &self.machine;
        if !m.optimised {
            text.insert_str(0, "**Not a release build: these figures mean nothing.** Use `make bench`.\n\n");
        }
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "\nMedians of {} rounds of {} s, interleaved. {} ({}), PostgreSQL {}, {}, {}. {} cores of {}{}; load {} before, {} \
             after.",
            m.rounds,
            m.seconds,
            m.paddock,
            m.commit,
            m.postgres,
            m.nginx,
            m.wrk,
            m.cores,
            m.processor,
            if m.pinned { "" } else { ", not pinned" },
            m.load_before,
            m.load_after,
        );
        text
    }
}

/// A table of Markdown; its first column is named `of`.
pub(super) fn table(of: &str, columns: &[&str], rows: impl IntoIterator<Item = (String, Vec<String>)>) -> String {
    let mut text = format!("| {of} | {} |\n|---|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
    for (name, figures) in rows {
        let _ = writeln!(text, "| {name} | {} |", figures.join(" | "));
    }
    text
}
