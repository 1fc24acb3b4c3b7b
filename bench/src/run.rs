//! Running the sections, and writing the report.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use paddock_tests::testbed::repository;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    budget, capacity, fairness, gateway, keys, lists, login, long_prompts,
    machine::{Machine, load_average},
    memory, operator, overload,
    plan::{Plan, Section},
    report::{Figures, Measured, Report},
    setup::Cores,
    slow_readers, streams, writes,
};

/// Progress of a run.
pub(crate) enum Progress {
    Began,
    /// With how long it took.
    Ended(Duration),
}

/// Runs the sections, calls `progress` before and after each, and returns the report in Markdown.
///
/// `report.json` and `report.md` in `target/bench` are written after each section, so that a failed
/// section does not lose the figures of earlier ones.
pub(crate) async fn bench(plan: Plan, progress: impl Fn(Section, Progress)) -> Result<String> {
    raise_file_limit()?;
    let cores = Cores::of_this_machine();
    let folder = target_folder().join("bench");
    fs::create_dir_all(&folder)?;
    let mut report = Report::default();
    let mut text = String::new();
    for &section in &plan.only {
        progress(section, Progress::Began);
        let (load_before, began) = (load_average(), Instant::now());
        let figures = measure(section, &plan, &cores).await.with_context(|| section.name())?;
        report.sections.push(Measured {
            section,
            figures,
            load_before,
            load_after: load_average(),
            seconds: began.elapsed().as_secs_f64(),
        });
        report.machine = Machine::observe(&cores, &plan)?;
        fs::write(folder.join("report.json"), report.json()?)?;
        text = report.markdown();
        fs::write(folder.join("report.md"), &text)?;
        progress(section, Progress::Ended(began.elapsed()));
    }
    Ok(text)
}

async fn measure(section: Section, plan: &Plan, cores: &Cores) -> Result<Figures> {
    Ok(match section {
        Section::Gateway => Figures::Gateway(Box::pin(gateway::measure(plan, cores)).await?),
        Section::Streams => Figures::Streams(Box::pin(streams::measure(plan, cores)).await?),
        Section::Capacity => Figures::Capacity(Box::pin(capacity::measure(plan, cores)).await?),
        Section::LongPrompts => Figures::LongPrompts(Box::pin(long_prompts::measure(plan, cores)).await?),
        Section::Keys => Figures::Keys(Box::pin(keys::measure(plan, cores)).await?),
        Section::Overload => Figures::Overload(Box::pin(overload::measure(plan, cores)).await?),
        Section::Fairness => Figures::Fairness(Box::pin(fairness::measure(plan, cores)).await?),
        Section::Budget => Figures::Budget(Box::pin(budget::measure(plan, cores)).await?),
        Section::SlowReaders => Figures::SlowReaders(Box::pin(slow_readers::measure(plan, cores)).await?),
        Section::Login => Figures::Login(Box::pin(login::measure(plan)).await?),
        Section::Writes => Figures::Writes(Box::pin(writes::measure(plan)).await?),
        Section::Lists => Figures::Lists(Box::pin(lists::measure(plan)).await?),
        Section::Memory => Figures::Memory(Box::pin(memory::measure(plan, cores)).await?),
        Section::Operator => Figures::Operator(Box::pin(operator::measure(plan)).await?),
    })
}

/// Lets this process and its children open as many connections as the system allows.
fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}
