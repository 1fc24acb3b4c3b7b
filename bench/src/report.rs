//! The report of a run: the figures of Paddock and of peers from the same run, and a description of
//! the machine.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{gateway::Gateway, lists::Lists, login::Login, machine::Machine, memory::Memory, writes::Writes};

/// The report, as `report.json` has it. Sections that were not run are absent.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<Login>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes: Option<Writes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lists: Option<Lists>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
}

impl Report {
    /// The report in Markdown.
    pub(crate) fn markdown(&self) -> String {
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
