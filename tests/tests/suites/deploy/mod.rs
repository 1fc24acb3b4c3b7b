//! The shipping files: the chart, kustomize, compose, examples and monitoring. Scripts in
//! `tests/deploy` render and compare; these stories run them on real servers.

#![allow(clippy::large_futures, reason = "each future is created once, for one test")]

mod compose;
mod installed;
mod linted;
mod monitoring;
mod release;
mod rendering;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use paddock_tests::testbed::{Part, repository};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    repository().join(path)
}

/// `tests/deploy/NAME` by the testbed's Python, with the testbed's helm and kubectl.
fn script(name: &str) -> Result<Command> {
    let mut command = Command::new(Part::Python.locate()?);
    command
        .arg("-B")
        .arg(file("tests/deploy").join(name))
        .env("PADDOCK_TESTBED_HELM", Part::Helm.locate()?)
        .env("PADDOCK_TESTBED_KUBERNETES", Part::Kubernetes.locate()?);
    Ok(command)
}

/// Parses a YAML file of the repository.
fn yaml(path: &str) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(file(path)).with_context(|| path.to_owned())?;
    serde_yaml_ng::from_str(&text).with_context(|| path.to_owned())
}
