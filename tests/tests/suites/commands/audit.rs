//! `paddock audit` at a prompt, beside a server that runs.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::fake_ollama::FakeOllama;
use paddock_tests::paddock::{Launch, Paddock};
use paddock_tests::process::Signal;
use paddock_tests::reaper;
use paddock_tests::story::story;
use rstest::rstest;
use serde_json::{Value, json};

use super::assert_refused;

/// What a command said that went well.
fn said(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout.clone())?)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn verify_and_export_work_beside_a_server_and_find_a_cut(#[case] engine: Engine) {
    story(async {
        let (database, ollama) = (Database::new(engine).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let folder = reaper::scratch_dir("heads")?;
        let head = folder.path().join("head");
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        let launch = launch.env("AUDIT_HEAD_FILE", path(&head)?);
        let (served, admin) = Paddock::seeded(launch.clone()).await?;
        let workload = admin.create_workload().await?;
        let run = |arguments: &[&str]| -> Result<Output> { Ok(launch.command(arguments)?.output()?) };

        let verified = said(&run(&["audit", "verify"])?)?;
        ensure!(verified.contains("is whole") && verified.contains("0 row(s) are newer"), "{verified}");
        let earlier = folder.path().join("earlier");
        fs::copy(&head, &earlier)?;
        admin.create_user(json!({"email": "ada@example.com"})).await?;
        let verified = said(&run(&["audit", "verify", "--head", path(&earlier)?])?)?;
        ensure!(verified.contains("0 row(s) are newer than the newest of 2 known"), "{verified}");
        assert_refused(&run(&["audit", "verify", "--head", "/nowhere/it"])?, 2, &["--head", "/nowhere/it"])?;
        fs::write(folder.path().join("odd"), "odd")?;
        assert_refused(
            &run(&["audit", "verify", "--head", path(&folder.path().join("odd"))?])?,
            2,
            &["--head", "no head"],
        )?;

        // Three refusals alike: one is written at once, two are counted until the end.
        for _ in 0..3 {
            ensure!(workload.get("/users").send().await?.status() == 403);
        }
        served.process().signal(Signal::Term)?;
        served.process().wait_for_exit(Duration::from_secs(10)).await?;
        let log = served.process().log().text();
        ensure!(log.contains("audit head"), "the log is told of the head: {log}");

        let lines = said(&run(&["audit", "export", "--type", "access_denied"])?)?;
        let rows: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(rows.len() == 2 && rows[1]["change"]["after"]["times"] == 2, "{lines}");
        let (user, key) = (rows[0]["user_id"].to_string(), rows[0]["credential_id"].to_string());
        let named = said(&run(&["audit", "export", "--user", &user, "--credential", &key])?)?;
        ensure!(named.contains(&lines[..lines.find('\n').context("a line")?]), "{named}");
        // As they were called before.
        ensure!(said(&run(&["audit", "export", "--event-type", "access_denied"])?)? == lines);
        ensure!(said(&run(&["audit", "export", "--user-id", &user, "--credential-id", &key])?)? == named);
        let ada = said(&run(&["audit", "export", "--user", "ada@example.com"])?)?;
        ensure!(ada.lines().count() == 1 && ada.contains("user_created"), "{ada}");
        assert_refused(&run(&["audit", "export", "--user", "bob@example.com"])?, 1, &["no user bob@example.com"])?;
        let table = said(&run(&["audit", "export", "--format", "csv", "--actor", "system:seed"])?)?;
        ensure!(table.starts_with("id,event_id,event_type,") && table.contains("admin_bootstrapped"), "{table}");
        let wrong = run(&["audit", "export", "--format", "xml"])?;
        ensure!(wrong.status.code() == Some(2), "{wrong:?}");

        let cut = "DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs); \
                   UPDATE audit_head SET position = (SELECT max(id) FROM audit_logs), \
                   hash = (SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1)";
        database.execute(cut).await?;
        assert_refused(
            &run(&["audit", "verify"])?,
            1,
            &["broken", "the newest rows are gone", "restored from a backup", path(&head)?],
        )?;
        fs::remove_file(&head)?;
        let verified = said(&run(&["audit", "verify"])?)?;
        ensure!(verified.contains("no head is known"), "{verified}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_local_the_head_is_kept_beside_the_file() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?;
        launch.seed()?;
        let file = database.url().strip_prefix("sqlite:").context("a file")?.to_owned() + ".audit-head";
        let head = fs::read_to_string(&file)?;
        let exported = said(&launch.command(&["audit", "export"])?.output()?)?;
        let last: Value = serde_json::from_str(exported.lines().last().context("a row")?)?;
        ensure!(head == format!("{} {}\n", last["id"], last["hash"].as_str().context("a hash")?), "{head}");
        let config = said(&launch.command(&["config"])?.output()?)?;
        ensure!(config.contains(&file), "{config}");
        let wrong = launch.clone().env("AUDIT_RETENTION_DAYS", "0").command(&["config"])?.output()?;
        ensure!(wrong.status.code() == Some(2), "{wrong:?}");
        Ok(())
    })
    .await;
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path of plain text")
}

/// What docs/operations.md says to do where the key is lost for good.
const BEGIN_ANEW: &str = "BEGIN; DELETE FROM audit_logs; UPDATE audit_head SET position = 0, hash = ''; \
                          UPDATE audit_anchor SET position = 0, hash = '', seal = ''; COMMIT";

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_writes_on_under_another_signing_key(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let launch = Launch::new(&["api"], database.url())?;
        launch.seed()?;
        let other = launch.clone().env("AUDIT_SIGNING_KEY", "the key of quite another database");
        for command in [&["api"][..], &["seed"], &["user", "create", "ada@example.com", "--admin", "--local"]] {
            let output = other.command(command)?.output()?;
            assert_refused(&output, 1, &["AUDIT_SIGNING_KEY is not the key", "bring back"])
                .with_context(|| command.join(" "))?;
        }
        let output = other.command(&["audit", "verify"])?.output()?;
        assert_refused(&output, 1, &["row 1", "AUDIT_SIGNING_KEY"])?;
        // A row that somebody changed is not taken for another key, even the newest one.
        said(&launch.command(&["audit", "verify"])?.output()?)?;
        database.execute("UPDATE audit_logs SET actor = 'nobody' WHERE id = (SELECT max(id) FROM audit_logs)").await?;
        launch.clone().start().await?;

        database.execute(BEGIN_ANEW).await?;
        if let Some(file) = database.url().strip_prefix("sqlite:") {
            fs::remove_file(format!("{file}.audit-head"))?;
        }
        let served = other.clone().start().await?;
        said(&other.command(&["audit", "verify"])?.output()?)?;
        drop(served);
        said(&other.command(&["user", "create", "ada@example.com", "--admin", "--local"])?.output()?)?;
        let verified = said(&other.command(&["audit", "verify"])?.output()?)?;
        ensure!(verified.contains("is whole"), "{verified}");
        assert_refused(&launch.command(&["api"])?.output()?, 1, &["AUDIT_SIGNING_KEY is not the key"])
    })
    .await;
}
