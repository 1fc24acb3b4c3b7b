//! The commands of the documentation, run as they are printed.

#![allow(clippy::large_futures, reason = "each future is created once, for one test")]

mod machine;
mod page;

use std::{ffi::OsStr, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use paddock_tests::{story::story, testbed::repository};
use rstest::rstest;

/// The Rust sources below a folder, in one text.
fn sources(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            text += &sources(&path)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            text += &fs::read_to_string(&path)?;
        }
    }
    Ok(text)
}

#[tokio::test]
async fn every_command_is_run_or_has_a_reason() {
    story(async {
        let rules = page::rules()?;
        let stories = sources(&repository().join("tests/tests/suites"))?;
        for name in page::pages()? {
            ensure!(rules.contains_key(&name), "tests/documentation/commands.yaml lacks {name}");
        }
        for (name, rules) in &rules {
            page::check(name, rules)?;
            for reason in rules.reasons() {
                let named = reason.split_once("story ").and_then(|(_, rest)| rest.split(' ').next());
                ensure!(named.is_none_or(|story| stories.contains(&format!("fn {story}("))), "{name}: no {reason}");
            }
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::readme("README.md")]
#[case::air_gapped("docs/air-gapped.md")]
#[case::api("docs/api.md")]
#[case::audit("docs/audit.md")]
#[case::backup_and_restore("docs/backup-and-restore.md")]
#[case::clients("docs/clients.md")]
#[case::configuration("docs/configuration.md")]
#[case::disaster_recovery("docs/disaster-recovery.md")]
#[case::gitops("docs/gitops.md")]
#[case::install("docs/install.md")]
#[case::kubernetes("docs/kubernetes.md")]
#[case::models("docs/models.md")]
#[case::rollback("docs/rollback.md")]
#[case::upgrade("docs/upgrade.md")]
#[case::users_and_keys("docs/users-and-keys.md")]
#[case::workloads("docs/workloads.md")]
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_page_work(#[case] name: &str) {
    story(async {
        let rules = page::rules()?;
        let rules = rules.get(name).context("a page of the table")?;
        match rules.machine {
            page::Machine::Server => machine::run_beside_a_server(name, rules).await,
            page::Machine::Cluster => machine::run_in_a_cluster(name, rules).await,
            page::Machine::None => bail!("{name} has no machine"),
        }
    })
    .await;
}

/// A page with a machine and without a case would not be run.
#[tokio::test]
async fn every_page_with_a_machine_is_run() {
    story(async {
        let cases = fs::read_to_string(repository().join("tests/tests/suites/documentation/mod.rs"))?;
        for (name, rules) in page::rules()? {
            let has_case = cases.contains(&format!("(\"{name}\")]"));
            ensure!(has_case == (rules.machine != page::Machine::None), "{name}: its case");
        }
        Ok(())
    })
    .await;
}
