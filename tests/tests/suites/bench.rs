//! That `make bench` still measures: each section runs, for a moment, in a build whose figures mean nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::process::run;
use paddock_tests::sentinel::scratch;
use paddock_tests::story::story;
use paddock_tests::testbed::Part;
use rstest::rstest;
use serde_json::Value;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_section_finds_figures_of_both_sides(
    #[values("gateway", "login", "writes", "lists", "memory")] section: &'static str,
) {
    story(async move {
        for part in [Part::Postgres, Part::Nginx, Part::Wrk] {
            part.locate()?;
        }
        let folder = scratch("bench")?;
        let report = tokio::task::spawn_blocking(move || measure(section, folder.path())).await??;
        ensure!(report.as_object().is_some_and(|found| found.contains_key(section)), "{report}");
        are_figures(section, &report[section])
    })
    .await;
}

/// One round of a second, and the report that comes of it.
fn measure(section: &str, folder: &Path) -> Result<Value> {
    let bench = ["bench", "--rounds", "1", "--seconds", "1", "--events", "2000", "--only", section];
    let mut command = Command::new(env!("CARGO_BIN_EXE_paddock-tests"));
    let people = run(command.args(bench).env("CARGO_TARGET_DIR", folder))?;
    ensure!(people.contains("Not a release build") == cfg!(debug_assertions), "{people}");
    let report = std::fs::read(folder.join("bench/report.json")).context("the report")?;
    Ok(serde_json::from_slice(&report)?)
}

/// That a number stands everywhere in what was found, a rate is more than nothing, and every request was answered well.
fn are_figures(name: &str, found: &Value) -> Result<()> {
    match found {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| are_figures(name, value)),
        Value::Array(each) => each.iter().try_for_each(|value| are_figures(name, value)),
        Value::Number(number) => {
            let figure = number.as_f64().context("a number")?;
            ensure!(name != "errors" || figure == 0.0, "{figure} requests were not answered well");
            ensure!(!name.contains("rate") || figure > 0.0, "{name} is {figure}");
            Ok(())
        }
        Value::String(_) => Ok(()),
        // What JSON has no number for is written as null.
        Value::Null | Value::Bool(_) => Err(anyhow::anyhow!("{name} is no figure: {found}")),
    }
}
