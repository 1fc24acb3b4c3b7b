//! `paddock seed`: the places where it writes the secrets of the first admin, and failures to write
//! them.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, process::Output};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    kubernetes::{CONTEXT, Kubernetes},
    paddock::{Bootstrap, Launch, fetch_json},
    process::run,
    reaper,
    story::story,
};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use super::{assert_refused, successful};

/// A migrated database, and the launch of its commands.
async fn migrated(engine: Engine) -> Result<(Database, Launch)> {
    let database = Database::new(engine).await?;
    let launch = Launch::new(&["api"], database.url())?;
    run(&mut launch.command(&["migrate"])?)?;
    Ok((database, launch))
}

/// A file for the secrets, in its own folder.
struct OutputFile {
    folder: TempDir,
    path: PathBuf,
}

impl OutputFile {
    fn new() -> Result<Self> {
        let folder = reaper::scratch_dir("seed")?;
        let path = folder.path().join("admin.env");
        Ok(Self { folder, path })
    }

    /// Seeds into the file, and returns its content.
    fn seed(&self, launch: &Launch) -> Result<String> {
        let path = self.path.display().to_string();
        let printed = successful(launch.command(&["seed", "--output-file", &path])?.output()?)?;
        ensure!(printed.is_empty(), "{printed}");
        Ok(std::fs::read_to_string(&self.path)?)
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_once_with_access_for_its_owner_only(#[case] engine: Engine) {
    story(async {
        let (_database, launch) = migrated(engine).await?;
        let file = OutputFile::new()?;
        let written = file.seed(&launch)?;
        ensure!(file.path.metadata()?.permissions().mode() & 0o777 == 0o600);
        ensure!(file.seed(&launch)? == written, "the second seed changed the file");
        ensure!(std::fs::read_dir(file.folder.path())?.count() == 1, "another file is left");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_in_the_file_is_replaced_and_the_password_stays(#[case] engine: Engine) {
    story(async {
        let (_database, launch) = migrated(engine).await?;
        let file = OutputFile::new()?;
        let admin = Bootstrap::from_output(&file.seed(&launch)?)?;
        let paddock = launch.clone().start().await?;
        let caller = paddock.caller(&admin.key);
        let keys = fetch_json(caller.get("/credentials")).await?;
        let path = format!("/credentials/{}/revoke", keys[0]["id"]);
        caller.post(&path, &Value::Null).send().await?.error_for_status()?;
        drop(paddock);
        let again = Bootstrap::from_output(&file.seed(&launch)?)?;
        ensure!(again.password == admin.password && again.key != admin.key);
        Ok(())
    })
    .await;
}

/// Neither by `seed` nor by `run`, neither the first time nor when it is forced.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_given_is_never_printed() {
    story(async {
        const GIVEN: &str = "violet harbour tangle 93";
        let (_database, launch) = migrated(Engine::Sqlite).await?;
        let launch = launch.env("ADMIN_BOOTSTRAP_PASSWORD", GIVEN);
        let file = OutputFile::new()?;
        let written = file.seed(&launch)?;
        ensure!(written.contains("BOOTSTRAP_ADMIN_API_KEY=") && !written.contains("PASSWORD"), "{written}");
        let launch = launch.env("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "1");
        for arguments in [&["seed"][..], &["run", "--no-backend"]] {
            let output = launch.command(arguments)?.env("LOG_LEVEL", "trace").output()?;
            let text = [output.stdout.clone(), output.stderr.clone()].concat();
            ensure!(!String::from_utf8_lossy(&text).contains("violet"), "{arguments:?}: {output:?}");
            successful(output)?;
        }
        let paddock = launch.start().await?;
        let signed_in = reqwest::Client::new().post(format!("{}/auth/login", paddock.url()));
        let signed_in = signed_in.json(&serde_json::json!({"username": "admin@example.com", "password": GIVEN}));
        ensure!(signed_in.send().await?.status() == 200);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_not_be_printed_is_revoked() {
    story(async {
        let (_database, launch) = migrated(Engine::Sqlite).await?;
        // Every write to this device fails.
        let mut command = launch.command(&["seed"])?;
        let output = command.stdout(std::fs::File::options().write(true).open("/dev/full")?).output()?;
        assert_refused(&output, 1, &["ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"])?;
        let output = launch.command(&["seed"])?.env("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "1").output()?;
        let admin = Bootstrap::from_output(&successful(output)?)?;
        let paddock = launch.start().await?;
        let keys = fetch_json(paddock.caller(&admin.key).get("/credentials")).await?;
        let revoked: Vec<_> = keys.as_array().context("keys")?.iter().map(|key| key["revoked"].clone()).collect();
        ensure!(revoked == [false, true], "{keys}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn seeding_a_database_without_an_admin_is_refused_with_the_ways_out(#[case] engine: Engine) {
    story(async {
        let (_database, launch) = migrated(engine).await?;
        successful(launch.command(&["user", "create", "admin@example.com", "--local"])?.output()?)?;
        for verb in ["seed", "run"] {
            let output = launch.command(&[verb])?.env("LOG_LEVEL", "error").output()?;
            assert_refused(&output, 1, &["admin@example.com", "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"])?;
            ensure!(output.stdout.is_empty(), "{output:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_in_the_refusal_creates_another_admin(#[case] engine: Engine) {
    story(async {
        let (_database, launch) = migrated(engine).await?;
        successful(launch.command(&["user", "create", "admin@example.com", "--local"])?.output()?)?;
        let advice = String::from_utf8(launch.command(&["seed"])?.output()?.stderr)?;
        let advice = advice.split('`').find_map(|words| words.strip_prefix("paddock ")).context("a command")?;
        let advice: Vec<&str> = advice.split(' ').collect();
        ensure!(successful(launch.command(&advice)?.output()?)?.contains("password"), "{advice:?}");
        ensure!(successful(launch.command(&["seed"])?.output()?)?.is_empty());
        // With another admin, a forced seed restores nothing.
        let output = launch.command(&["seed"])?.env("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "1").output()?;
        let words = ["ADMIN_BOOTSTRAP_PASSWORD_FORCE", "`paddock user update admin@example.com --role admin`"];
        assert_refused(&output, 1, &words)?;
        Ok(())
    })
    .await;
}

/// Runs `paddock seed --secret` with a Secret of this name.
fn seed_secret(cluster: &Kubernetes, launch: &Launch, namespace: &str, name: &str) -> Result<Output> {
    let mut command = launch.command(&["seed", "--secret", &format!("{namespace}/{name}"), "--context", CONTEXT])?;
    Ok(command.env("KUBECONFIG", cluster.kubeconfig()).output()?)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_kubernetes_secret_is_written_once(#[case] engine: Engine) {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        let (_database, launch) = migrated(engine).await?;
        let secret = || -> Result<Value> {
            let text = run(cluster.kubectl(&namespace)?.args(["get", "secret", "admin", "--output=json"]))?;
            Ok(serde_json::from_str(&text)?)
        };
        ensure!(successful(seed_secret(cluster, &launch, &namespace, "admin")?)?.is_empty());
        let written = secret()?;
        for name in ["EMAIL", "PASSWORD", "API_KEY"] {
            ensure!(written["data"][format!("BOOTSTRAP_ADMIN_{name}")].is_string(), "{name} is missing");
        }
        ensure!(successful(seed_secret(cluster, &launch, &namespace, "admin")?)?.is_empty());
        ensure!(secret()? == written, "the second seed changed the Secret");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_secret_is_not_written(#[case] engine: Engine) {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        let (_database, launch) = migrated(engine).await?;
        let foreign = ["create", "secret", "generic", "foreign", "--from-literal=a=b"];
        run(cluster.kubectl(&namespace)?.args(foreign))?;
        let refused = seed_secret(cluster, &launch, &namespace, "foreign")?;
        assert_refused(&refused, 2, &["foreign", "paddock.dev/bootstrap"])?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_name_of_a_secret_is_refused(#[case] engine: Engine) {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        let (_database, launch) = migrated(engine).await?;
        let refused = seed_secret(cluster, &launch, &namespace, "No_Such_Name")?;
        assert_refused(&refused, 1, &["No_Such_Name"])?;
        Ok(())
    })
    .await;
}
