//! A PostgreSQL that cannot be used, as it is told at a prompt and in the log: where it is, why, and what to check.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Database;
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::Launch;
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::story::story;

use super::{UNREACHABLE_DATABASE, assert_refused};

/// Stands in every URL, and may be told nowhere.
const PASSWORD: &str = "hunter22";

/// A cluster that asks everybody but its owner for a password, and where it listens.
async fn guarded() -> Result<(Postgres, String)> {
    let postgres = Postgres::start(Durability::Relaxed).await?;
    let owner = Database::open(postgres.url())?;
    owner.execute("CREATE ROLE app LOGIN PASSWORD 'another one'; CREATE ROLE guest LOGIN PASSWORD 'hunter22'").await?;
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all app,guest 127.0.0.1/32 scram-sha-256\n";
    fs::write(postgres.data_dir().context("a cluster of our own")?.join("pg_hba.conf"), rules)?;
    owner.execute("SELECT pg_reload_conf()").await?;
    let (_, place) = postgres.url().split_once('@').context("a user")?;
    let place = place.split('/').next().context("a host and a port")?.to_owned();
    let wrong = format!("postgres://app:{PASSWORD}@{place}/postgres");
    eventually("the rules to hold", Duration::from_secs(10), async || {
        let asked = Database::open(&wrong)?.texts("SELECT 'in'").await;
        ensure!(asked.is_err(), "anyone is let in");
        Ok(())
    })
    .await?;
    Ok((postgres, place))
}

/// That this command ends with one line that has all these words, and not the password.
fn told(verb: &[&str], url: &str, words: &[&str]) -> Result<()> {
    let output = Launch::new(verb, url)?.command(verb)?.output()?;
    assert_refused(&output, 1, words).with_context(|| format!("{verb:?} on {url}"))?;
    ensure!(!String::from_utf8_lossy(&output.stderr).contains(PASSWORD), "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_says_who_is_refused_and_what_to_check() {
    story(async {
        let (_postgres, place) = guarded().await?;
        let url = format!("postgres://app:{PASSWORD}@{place}/postgres");
        let cause = "password authentication failed for user \"app\"";
        for verb in [
            &["migrate"][..],
            &["run"],
            &["seed"],
            &["api"],
            &["audit", "verify"],
            &["audit", "export"],
            &["user", "create", "root@example.com", "--admin", "--local"],
            &["user", "set-password", "root@example.com", "--local"],
        ] {
            told(verb, &url, &[&place, "database postgres", "user app", cause, "the password in DATABASE_URL"])?;
        }
        let url = |user: &str, rest: &str| format!("postgres://{user}:{PASSWORD}@{place}/{rest}");
        told(&["migrate"], &url("nobody", "postgres"), &[&place, "\"nobody\"", "the user in DATABASE_URL"])?;
        let words = [place.as_str(), "database \"nowhere\" does not exist", "DATABASE_URL", "DB_NAME"];
        told(&["migrate"], &url("guest", "nowhere"), &words)?;
        let words = [place.as_str(), "does not support TLS", "sslmode in DATABASE_URL"];
        told(&["audit", "verify"], &url("guest", "postgres?sslmode=require"), &words)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_answers_is_told_with_the_address() {
    story(async {
        let refused = format!("postgres://app:{PASSWORD}@127.0.0.1:1/main");
        let words = ["127.0.0.1:1", "database main", "Connection refused", "the host and the port in DATABASE_URL"];
        for verb in [&["migrate"][..], &["seed"], &["audit", "verify"]] {
            told(verb, &refused, &words)?;
        }
        let unknown = format!("postgres://app:{PASSWORD}@nowhere.invalid/main");
        told(
            &["migrate"],
            &unknown,
            &["nowhere.invalid:5432", "failed to lookup", "the host and the port in DATABASE_URL"],
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_and_names_the_cause_in_the_log_alone() {
    story(async {
        let paddock = Launch::new(&["api"], UNREACHABLE_DATABASE)?.spawn()?;
        let log = eventually("the log to tell of it", Duration::from_secs(20), async || {
            let log = paddock.process().log().text();
            ensure!(log.contains("waiting for it"), "{log}");
            Ok(log)
        })
        .await?;
        for words in ["PostgreSQL at 127.0.0.1:1 (database app, user app)", "Connection refused", "DATABASE_URL"] {
            ensure!(log.contains(words), "no {words} in {log}");
        }
        let key = format!("pdk_{}", "0".repeat(10));
        let answer = eventually("an answer", Duration::from_secs(20), async || {
            Ok::<_, anyhow::Error>(paddock.caller(&key).get("/readyz").send().await?)
        })
        .await?;
        ensure!(answer.status() == 503, "{}", answer.status());
        let text = answer.text().await?;
        ensure!(text.contains("database") && !text.contains("127.0.0.1") && !text.contains("refused"), "{text}");
        Ok(())
    })
    .await;
}
