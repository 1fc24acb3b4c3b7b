//! `make bench` still measures: each section runs for a second, in a build whose figures mean
//! nothing.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{paddock::built, process::run, reaper::scratch_dir, story::story, testbed::Part};
use rstest::rstest;
use serde_json::Value;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_section_measures_both_sides(
    #[values(
        "gateway",
        "streams",
        "capacity",
        "long-prompts",
        "keys",
        "overload",
        "fairness",
        "budget",
        "slow-readers",
        "login",
        "writes",
        "lists",
        "memory",
        "operator"
    )]
    section: &'static str,
) {
    story(async move {
        for part in [Part::Postgres, Part::Nginx, Part::Wrk, Part::Kubernetes] {
            part.locate()?;
        }
        let folder = scratch_dir("bench")?;
        let report = tokio::task::spawn_blocking(move || measure(section, folder.path())).await??;
        ensure!(report.as_object().is_some_and(|found| found.contains_key(section)), "{report}");
        assert_figures(section, &report[section])?;
        assert_frames(&report[section])?;
        assert_verdicts(section, &report["targets"])
    })
    .await;
}

/// Runs one round of a second, and returns the report.
fn measure(section: &str, folder: &Path) -> Result<Value> {
    let bench = ["--rounds", "1", "--seconds", "1", "--events", "2000", "--keys", "50", "--streams", "100"];
    let mut command = Command::new(built("paddock-bench")?);
    let text = run(command
        .args(bench)
        .args(["--objects", "20", "--settle", "1", "--only", section])
        .env("CARGO_TARGET_DIR", folder))?;
    ensure!(text.contains("Not a release build") == cfg!(debug_assertions), "{text}");
    let report = std::fs::read(folder.join("bench/report.json")).context("the report")?;
    Ok(serde_json::from_slice(&report)?)
}

/// Asserts that every figure is a number, every rate is positive, and no request failed.
fn assert_figures(name: &str, found: &Value) -> Result<()> {
    match found {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| assert_figures(name, value)),
        Value::Array(each) => each.iter().try_for_each(|value| assert_figures(name, value)),
        Value::Number(number) => {
            let figure = number.as_f64().context("a number")?;
            ensure!(name != "errors" || figure == 0.0, "{figure} requests were not answered well");
            ensure!(!name.contains("rate") || figure > 0.0, "{name} is {figure}");
            Ok(())
        }
        Value::String(_) => Ok(()),
        // serde_json writes NaN and infinity as null.
        Value::Null | Value::Bool(_) => Err(anyhow::anyhow!("{name} is no figure: {found}")),
    }
}

/// Asserts that Paddock and the fake upstream neither lost nor changed a frame.
fn assert_frames(found: &Value) -> Result<()> {
    for row in found["rows"].as_array().into_iter().flatten() {
        if !matches!(row["peer"].as_str(), Some("direct" | "paddock")) {
            continue;
        }
        let errors = row["frame_errors"].as_object().into_iter().flatten().map(|(_, count)| count);
        for count in errors.chain(["failed", "stream_errors"].iter().filter_map(|name| row.get(name))) {
            ensure!(*count == 0, "frames or streams with errors: {row}");
        }
    }
    Ok(())
}

/// Asserts that each measure of the gateway has a verdict.
fn assert_verdicts(section: &str, targets: &Value) -> Result<()> {
    let targets = targets.as_array().context("the targets")?;
    let has_targets = !matches!(section, "login" | "writes" | "lists" | "operator");
    ensure!(targets.is_empty() != has_targets, "{targets:?}");
    for target in targets {
        ensure!(target["figure"].is_number(), "no figure: {target}");
        ensure!(matches!(target["verdict"].as_str(), Some("goal met" | "met" | "missed")), "no verdict: {target}");
    }
    Ok(())
}
