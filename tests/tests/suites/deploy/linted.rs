//! The workflows, the compose files and the Dockerfile, checked by the linters of their formats.

use std::{ffi::OsStr, fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use paddock_tests::{process::run, story::story, testbed::Part};
use rstest::rstest;

use super::file;

/// The YAML files of a folder whose names begin with `prefix`.
fn yaml_files(folder: &str, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(file(folder))? {
        let path = entry?.path();
        let is_yaml =
            path.extension().and_then(OsStr::to_str).is_some_and(|suffix| suffix == "yaml" || suffix == "yml");
        if is_yaml && path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix)) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "{folder} has no {prefix}*.yaml");
    Ok(found)
}

/// A linter of the testbed.
fn linter(name: &str) -> Result<Command> {
    Ok(Command::new(Part::Linters.locate()?.join(name)))
}

#[rstest]
#[case::workflows("vendor.github-workflows", ".github/workflows", "")]
#[case::dependabot("vendor.dependabot", ".github", "dependabot")]
#[case::compose("vendor.compose-spec", ".", "docker-compose.")]
#[tokio::test]
async fn a_file_satisfies_the_schema_of_its_format(#[case] schema: &str, #[case] folder: &str, #[case] prefix: &str) {
    story(async {
        run(linter("check-jsonschema")?.args(["--builtin-schema", schema]).args(yaml_files(folder, prefix)?))?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_workflows_are_secure() {
    story(async {
        run(linter("zizmor")?.args(["--offline", "--persona=auditor"]).arg(file(".github")))?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_dockerfile_follows_the_practices_of_hadolint() {
    story(async {
        run(linter("hadolint")?.arg(file("Dockerfile")))?;
        Ok(())
    })
    .await;
}
