//! A PostgreSQL that cannot be used: errors at a prompt and in the log name its address, the cause,
//! and the setting to check.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::Database,
    eventually::eventually,
    paddock::Launch,
    postgres::{Durability, Postgres},
    story::story,
};

use super::{UNREACHABLE_DATABASE, assert_refused};

/// The password in every URL, which no output may have.
const PASSWORD: &str = "hunter22";

/// A cluster that asks every user but its owner for a password, and its address.
async fn guarded() -> Result<(Postgres, String)> {
    let postgres = Postgres::start(Durability::Relaxed).await?;
    let owner = Database::open(postgres.url())?;
    owner.execute("CREATE ROLE app LOGIN PASSWORD 'another one'; CREATE ROLE guest LOGIN PASSWORD 'hunter22'").await?;
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all app,guest 127.0.0.1/32 scram-sha-256\n";
    fs::write(postgres.data_dir().context("the test's own cluster")?.join("pg_hba.conf"), rules)?;
    owner.execute("SELECT pg_reload_conf()").await?;
    let (_, address) = postgres.url().split_once('@').context("a user")?;
    let address = address.split('/').next().context("a host and a port")?.to_owned();
    let wrong = format!("postgres://app:{PASSWORD}@{address}/postgres");
    eventually("the rules to hold", Duration::from_secs(10), async || {
        let asked = Database::open(&wrong)?.texts("SELECT 'in'").await;
        ensure!(asked.is_err(), "the password is not checked");
        Ok(())
    })
    .await?;
    Ok((postgres, address))
}

/// Asserts that a command fails with one line that has all these words and not the password.
fn assert_fails(verb: &[&str], url: &str, words: &[&str]) -> Result<()> {
    let output = Launch::new(verb, url)?.command(verb)?.output()?;
    assert_refused(&output, 1, words).with_context(|| format!("{verb:?} on {url}"))?;
    ensure!(!String::from_utf8_lossy(&output.stderr).contains(PASSWORD), "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_names_the_refused_user_and_the_setting() {
    story(async {
        let (_postgres, address) = guarded().await?;
        let url = format!("postgres://app:{PASSWORD}@{address}/postgres");
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
            assert_fails(verb, &url, &[&address, "database postgres", "user app", cause, "DATABASE_URL"])?;
        }
        let url = |user: &str, rest: &str| format!("postgres://{user}:{PASSWORD}@{address}/{rest}");
        assert_fails(&["migrate"], &url("nobody", "postgres"), &[&address, "\"nobody\"", "DATABASE_URL"])?;
        let words = [address.as_str(), "\"nowhere\"", "DATABASE_URL", "DB_NAME"];
        assert_fails(&["migrate"], &url("guest", "nowhere"), &words)?;
        let words = [address.as_str(), "TLS", "sslmode", "DATABASE_URL"];
        assert_fails(&["audit", "verify"], &url("guest", "postgres?sslmode=require"), &words)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_is_named_with_its_address() {
    story(async {
        let refused = format!("postgres://app:{PASSWORD}@127.0.0.1:1/main");
        let words = ["127.0.0.1:1", "database main", "Connection refused", "DATABASE_URL"];
        for verb in [&["migrate"][..], &["seed"], &["audit", "verify"]] {
            assert_fails(verb, &refused, &words)?;
        }
        let unknown = format!("postgres://app:{PASSWORD}@nowhere.invalid/main");
        assert_fails(&["migrate"], &unknown, &["nowhere.invalid:5432", "failed to lookup", "DATABASE_URL"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_its_database_and_names_the_cause_in_the_log_only() {
    story(async {
        let paddock = Launch::new(&["api"], UNREACHABLE_DATABASE)?.spawn()?;
        let log = eventually("the log to name it", Duration::from_secs(20), async || {
            let log = paddock.process().log().text();
            ensure!(log.contains("127.0.0.1:1"), "{log}");
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
