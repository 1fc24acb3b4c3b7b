//! Running the sections, and writing the report.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use paddock_tests::testbed::repository;

use crate::{
    gateway, lists, login,
    machine::{Machine, load_average},
    memory,
    plan::{Plan, Section},
    report::Report,
    setup::Cores,
    writes,
};

/// Runs the sections, calls `progress` after each, and returns the report in Markdown.
///
/// `report.json` and `report.md` in `target/bench` are written after each section, so that a failed
/// section does not lose the figures of earlier ones.
pub(crate) async fn bench(plan: Plan, progress: impl Fn(Section, Duration)) -> Result<String> {
    let cores = Cores::of_this_machine();
    let load_before = load_average();
    let folder = target_folder().join("bench");
    fs::create_dir_all(&folder)?;
    let mut report = Report::default();
    let mut text = String::new();
    for section in &plan.only {
        let began = Instant::now();
        match section {
            Section::Gateway => report.gateway = Some(Box::pin(gateway::measure(&plan, &cores)).await?),
            Section::Login => report.login = Some(Box::pin(login::measure(&plan)).await?),
            Section::Writes => report.writes = Some(Box::pin(writes::measure(&plan)).await?),
            Section::Lists => report.lists = Some(Box::pin(lists::measure(&plan)).await?),
            Section::Memory => report.memory = Some(Box::pin(memory::measure(&plan, &cores)).await?),
        }
        report.machine = Machine::observe(&cores, &plan, &load_before)?;
        fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report)?)?;
        text = report.markdown();
        fs::write(folder.join("report.md"), &text)?;
        progress(*section, began.elapsed());
    }
    Ok(text)
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}
