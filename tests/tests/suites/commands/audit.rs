//! `paddock audit verify` and `paddock audit export`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::FakeOllama,
    paddock::{Caller, Launch, Paddock},
    process::Signal,
    reaper,
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{assert_refused, successful};

/// The numbers in the second line of `audit verify`: the known heads, and the rows after the newest
/// of them.
fn heads_and_newer_rows(verified: &str) -> Result<Vec<u64>> {
    let line = verified.lines().nth(1).context("a second line")?;
    let numbers = line.split(|char: char| !char.is_ascii_digit()).filter(|number| !number.is_empty());
    Ok(numbers.map(str::parse).collect::<Result<_, _>>()?)
}

/// A served database with a head file, its first admin and a workload.
struct Served {
    database: Database,
    folder: TempDir,
    launch: Launch,
    paddock: Paddock,
    admin: Caller,
    workload: Caller,
    _ollama: FakeOllama,
}

impl Served {
    async fn start(engine: Engine) -> Result<Self> {
        let (database, ollama) = (Database::new(engine).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let folder = reaper::scratch_dir("heads")?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        let launch = launch.env("AUDIT_HEAD_FILE", path(&folder.path().join("head"))?);
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        let workload = admin.create_workload().await?;
        Ok(Self { database, folder, launch, paddock, admin, workload, _ollama: ollama })
    }

    fn head(&self) -> PathBuf {
        self.folder.path().join("head")
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.launch.command(arguments)?.output()?)
    }

    /// The output of `paddock audit export` with these arguments.
    fn export(&self, arguments: &[&str]) -> Result<String> {
        successful(self.run(&[&["audit", "export"], arguments].concat())?)
    }

    /// Three equal refusals, of which one is written at once and two are counted until the server
    /// ends.
    async fn refuse_three_times(&self) -> Result<()> {
        for _ in 0..3 {
            ensure!(self.workload.get("/users").send().await?.status() == 403);
        }
        self.paddock.process().signal(Signal::Term)?;
        self.paddock.process().wait_for_exit(Duration::from_secs(10)).await?;
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn verify_reports_the_rows_after_the_newest_known_head(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        let verified = successful(served.run(&["audit", "verify"])?)?;
        assert_eq!(heads_and_newer_rows(&verified)?, [1, 0], "{verified}");
        let earlier = served.folder.path().join("earlier");
        fs::copy(served.head(), &earlier)?;
        served.admin.create_user(json!({"email": "ada@example.com"})).await?;
        let verified = successful(served.run(&["audit", "verify", "--head", path(&earlier)?])?)?;
        assert_eq!(heads_and_newer_rows(&verified)?, [2, 0], "{verified}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn verify_refuses_a_missing_or_invalid_head_file(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        assert_refused(&served.run(&["audit", "verify", "--head", "/nowhere/it"])?, 2, &["--head", "/nowhere/it"])?;
        let odd = served.folder.path().join("odd");
        fs::write(&odd, "odd")?;
        assert_refused(&served.run(&["audit", "verify", "--head", path(&odd)?])?, 2, &["--head"])?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn verify_without_a_known_head_says_so(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        fs::remove_file(served.head())?;
        let verified = successful(served.run(&["audit", "verify"])?)?;
        ensure!(verified.contains("--head FILE"), "{verified}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_cut_by_the_head_file(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        let cut = "DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs); \
                   UPDATE audit_head SET position = (SELECT max(id) FROM audit_logs), \
                   hash = (SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1)";
        served.database.execute(cut).await?;
        assert_refused(&served.run(&["audit", "verify"])?, 1, &[path(&served.head())?])?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_logged_at_the_end_of_a_server(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        served.refuse_three_times().await?;
        let log = served.paddock.process().log().text();
        ensure!(log.contains("audit head"), "{log}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_aggregated_events_and_can_be_filtered(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        served.refuse_three_times().await?;
        let lines = served.export(&["--type", "access_denied"])?;
        let rows: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(rows.len() == 2 && rows[1]["change"]["after"]["times"] == 2, "{lines}");
        let (user, key) = (rows[0]["user_id"].to_string(), rows[0]["credential_id"].to_string());
        let filtered = served.export(&["--user", &user, "--credential", &key])?;
        ensure!(filtered.contains(&lines[..lines.find('\n').context("a line")?]), "{filtered}");
        // The former names of the arguments.
        ensure!(served.export(&["--event-type", "access_denied"])? == lines);
        ensure!(served.export(&["--user-id", &user, "--credential-id", &key])? == filtered);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_finds_a_user_by_address(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        served.admin.create_user(json!({"email": "ada@example.com"})).await?;
        let ada = served.export(&["--user", "ada@example.com"])?;
        ensure!(ada.lines().count() == 1 && ada.contains("user_created"), "{ada}");
        assert_refused(&served.run(&["audit", "export", "--user", "bob@example.com"])?, 1, &["bob@example.com"])?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_the_requested_format(#[case] engine: Engine) {
    story(async {
        let served = Served::start(engine).await?;
        let table = served.export(&["--format", "csv", "--actor", "system:seed"])?;
        ensure!(table.starts_with("id,event_id,event_type,") && table.contains("admin_bootstrapped"), "{table}");
        let wrong = served.run(&["audit", "export", "--format", "xml"])?;
        ensure!(wrong.status.code() == Some(2), "{wrong:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_local_the_head_file_is_beside_the_database() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?;
        launch.seed()?;
        let file = database.url().strip_prefix("sqlite:").context("a file")?.to_owned() + ".audit-head";
        let head = fs::read_to_string(&file)?;
        let exported = successful(launch.command(&["audit", "export"])?.output()?)?;
        let last: Value = serde_json::from_str(exported.lines().last().context("a row")?)?;
        ensure!(head == format!("{} {}\n", last["id"], last["hash"].as_str().context("a hash")?), "{head}");
        let config = successful(launch.command(&["config"])?.output()?)?;
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

/// The statements of docs/operations.md that begin a new log after the signing key is lost.
const BEGIN_ANEW: &str = "BEGIN; DELETE FROM audit_logs; UPDATE audit_head SET position = 0, hash = ''; \
                          UPDATE audit_anchor SET position = 0, hash = '', seal = ''; COMMIT";

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn no_command_continues_the_log_under_another_signing_key(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let launch = Launch::new(&["api"], database.url())?;
        launch.seed()?;
        let other = launch.clone().env("AUDIT_SIGNING_KEY", "the key of quite another database");
        for command in [&["api"][..], &["seed"], &["user", "create", "ada@example.com", "--admin", "--local"]] {
            let output = other.command(command)?.output()?;
            assert_refused(&output, 1, &["AUDIT_SIGNING_KEY"]).with_context(|| command.join(" "))?;
        }
        let output = other.command(&["audit", "verify"])?.output()?;
        assert_refused(&output, 1, &["row 1", "AUDIT_SIGNING_KEY"])?;
        // A changed row is not mistaken for another key, even the newest one.
        successful(launch.command(&["audit", "verify"])?.output()?)?;
        database.execute("UPDATE audit_logs SET actor = 'nobody' WHERE id = (SELECT max(id) FROM audit_logs)").await?;
        launch.clone().start().await?;

        database.execute(BEGIN_ANEW).await?;
        if let Some(file) = database.url().strip_prefix("sqlite:") {
            fs::remove_file(format!("{file}.audit-head"))?;
        }
        let served = other.clone().start().await?;
        successful(other.command(&["audit", "verify"])?.output()?)?;
        drop(served);
        successful(other.command(&["user", "create", "ada@example.com", "--admin", "--local"])?.output()?)?;
        successful(other.command(&["audit", "verify"])?.output()?)?;
        assert_refused(&launch.command(&["api"])?.output()?, 1, &["AUDIT_SIGNING_KEY"])
    })
    .await;
}
