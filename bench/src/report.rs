//! The report of a run: the figures of Paddock and of peers from the same run, what they must be,
//! and a description of the machine.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    budget::Budget,
    capacity::Capacity,
    fairness::Fairness,
    gateway::Gateway,
    keys::Keys,
    lists::Lists,
    login::Login,
    long_prompts::LongPrompts,
    machine::Machine,
    markdown::table,
    memory::Memory,
    operator::Operator,
    overload::Overload,
    plan::Section,
    slow_readers::SlowReaders,
    streams::Streams,
    verdict::{self, Target},
    writes::Writes,
};

/// The figures of a section.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Figures {
    Gateway(Gateway),
    Streams(Streams),
    Capacity(Capacity),
    LongPrompts(LongPrompts),
    Keys(Keys),
    Overload(Overload),
    Fairness(Fairness),
    Budget(Budget),
    SlowReaders(SlowReaders),
    Login(Login),
    Writes(Writes),
    Lists(Lists),
    Memory(Memory),
    Operator(Operator),
}

impl Figures {
    fn markdown(&self) -> String {
        match self {
            Self::Gateway(figures) => figures.markdown(),
            Self::Streams(figures) => figures.markdown(),
            Self::Capacity(figures) => figures.markdown(),
            Self::LongPrompts(figures) => figures.markdown(),
            Self::Keys(figures) => figures.markdown(),
            Self::Overload(figures) => figures.markdown(),
            Self::Fairness(figures) => figures.markdown(),
            Self::Budget(figures) => figures.markdown(),
            Self::SlowReaders(figures) => figures.markdown(),
            Self::Login(figures) => figures.markdown(),
            Self::Writes(figures) => figures.markdown(),
            Self::Lists(figures) => figures.markdown(),
            Self::Memory(figures) => figures.markdown(),
            Self::Operator(figures) => figures.markdown(),
        }
    }

    /// What the figures must be; nothing for sections without such limits.
    pub(crate) fn targets(&self) -> Vec<Target> {
        match self {
            Self::Gateway(figures) => figures.targets(),
            Self::Streams(figures) => figures.targets(),
            Self::Capacity(figures) => figures.targets(),
            Self::LongPrompts(figures) => figures.targets(),
            Self::Keys(figures) => figures.targets(),
            Self::Overload(figures) => figures.targets(),
            Self::Fairness(figures) => figures.targets(),
            Self::Budget(figures) => figures.targets(),
            Self::SlowReaders(figures) => figures.targets(),
            Self::Memory(figures) => figures.targets(),
            Self::Login(_) | Self::Writes(_) | Self::Lists(_) | Self::Operator(_) => Vec::new(),
        }
    }
}

/// A section, and the load of the machine around it.
#[derive(Serialize)]
pub(crate) struct Measured {
    #[serde(skip)]
    pub(crate) section: Section,
    pub(crate) figures: Figures,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) seconds: f64,
}

/// The report of a run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) sections: Vec<Measured>,
}

impl Report {
    /// The report in JSON: `machine`, `targets`, `loads`, and each section under its name.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let mut report = serde_json::Map::new();
        report.insert("machine".to_owned(), serde_json::to_value(&self.machine)?);
        report.insert("targets".to_owned(), serde_json::to_value(self.targets())?);
        for measured in &self.sections {
            report.insert(measured.section.name(), serde_json::to_value(&measured.figures)?);
        }
        let loads = self.sections.iter().map(|measured| {
            let Measured { load_before, load_after, seconds, .. } = measured;
            let load = serde_json::json!({"before": load_before, "after": load_after, "seconds": seconds});
            (measured.section.name(), load)
        });
        report.insert("loads".to_owned(), loads.collect());
        serde_json::to_string_pretty(&report)
    }

    fn targets(&self) -> Vec<Target> {
        self.sections.iter().flat_map(|measured| measured.figures.targets()).collect()
    }

    /// The report in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut texts = Vec::new();
        let targets = self.targets();
        if !targets.is_empty() {
            texts.push(verdict::markdown(&targets));
        }
        texts.extend(self.sections.iter().map(|measured| measured.figures.markdown()));
        let mut text = texts.join("\n");
        let m = &self.machine;
        if !m.optimised {
            text.insert_str(0, "**Not a release build: these figures mean nothing.** Use `make bench`.\n\n");
        }
        let loads = self.sections.iter().map(|measured| {
            let figures = [&measured.load_before, &measured.load_after].map(ToString::to_string).to_vec();
            (format!("{}, {:.0} s", measured.section.name(), measured.seconds), figures)
        });
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "\n## Machine\n\n{}\nMedians of {} rounds of {} s, interleaved. {} ({}), PostgreSQL {}, {}, {}. {} cores of {}{}.",
            table("load average of", &["before", "after"], loads),
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
        );
        text
    }
}
