//! Where `paddock seed` tells what it made, and that nothing is lost when it cannot.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::kubernetes::{CONTEXT, Kubernetes};
use paddock_tests::paddock::{Bootstrap, Launch, fetch_json};
use paddock_tests::process::run;
use paddock_tests::reaper;
use paddock_tests::story::story;
use rstest::rstest;
use serde_json::Value;

use super::{assert_refused, said};

/// A migrated database, and a way to seed it.
async fn migrated(engine: Engine) -> Result<(Database, Launch)> {
    let database = Database::new(engine).await?;
    let launch = Launch::new(&["api"], database.url())?;
    run(&mut launch.command(&["migrate"])?)?;
    Ok((database, launch))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_once_for_its_owner_alone(#[case] engine: Engine) {
    story(async {
        let (_database, launch) = migrated(engine).await?;
        let folder = reaper::scratch_dir("seed")?;
        let path = folder.path().join("admin.env");
        let text = path.display().to_string();
        let seed = || -> Result<Output> { Ok(launch.command(&["seed", "--output-file", &text])?.output()?) };
        ensure!(said(seed()?)?.is_empty());
        let written = std::fs::read_to_string(&path)?;
        let admin = Bootstrap::from_output(&written)?;
        ensure!(path.metadata()?.permissions().mode() & 0o777 == 0o600);
        ensure!(
            said(seed()?)?.is_empty() && std::fs::read_to_string(&path)? == written,
            "the second time changes nothing"
        );
        ensure!(std::fs::read_dir(folder.path())?.count() == 1, "nothing is left beside it");

        // The key is replaced; the password, which is not told again, stays.
        let paddock = launch.clone().start().await?;
        let caller = paddock.caller(&admin.key);
        let keys = fetch_json(caller.get("/credentials")).await?;
        caller
            .post(&format!("/credentials/{}/revoke", keys[0]["id"]), &Value::Null)
            .send()
            .await?
            .error_for_status()?;
        drop(paddock);
        said(seed()?)?;
        let again = Bootstrap::from_output(&std::fs::read_to_string(&path)?)?;
        ensure!(again.password == admin.password && again.key != admin.key);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_was_told_does_not_stay_in_force() {
    story(async {
        let (_database, launch) = migrated(Engine::Sqlite).await?;
        // It takes no bytes, whoever writes.
        let mut command = launch.command(&["seed"])?;
        let output = command.stdout(std::fs::File::options().write(true).open("/dev/full")?).output()?;
        assert_refused(&output, 1, &["the key that was made is revoked", "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"])?;
        let output = launch.command(&["seed"])?.env("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "1").output()?;
        let admin = Bootstrap::from_output(&said(output)?)?;
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
async fn a_database_that_is_left_without_an_admin_is_told_what_to_do(#[case] engine: Engine) {
    story(async {
        let (_database, launch) = migrated(engine).await?;
        said(launch.command(&["user", "create", "admin@example.com", "--local"])?.output()?)?;
        for verb in ["seed", "run"] {
            let output = launch.command(&[verb])?.env("LOG_LEVEL", "error").output()?;
            assert_refused(
                &output,
                1,
                &["nobody can administer", "admin@example.com", "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"],
            )?;
            ensure!(output.stdout.is_empty(), "{output:?}");
        }
        // The command that it names is one.
        let advice = String::from_utf8(launch.command(&["seed"])?.output()?.stderr)?;
        let advice = advice.split('`').find_map(|words| words.strip_prefix("paddock ")).context("a command")?;
        let advice: Vec<&str> = advice.split(' ').collect();
        ensure!(said(launch.command(&advice)?.output()?)?.contains("password"), "{advice:?}");
        ensure!(said(launch.command(&["seed"])?.output()?)?.is_empty(), "somebody else is the admin now");

        let output = launch.command(&["seed"])?.env("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "1").output()?;
        assert_refused(
            &output,
            1,
            &["ADMIN_BOOTSTRAP_PASSWORD_FORCE", "`paddock user update admin@example.com --role admin`"],
        )
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_kubernetes_is_written_once(#[case] engine: Engine) {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        let (_database, launch) = migrated(engine).await?;
        let launch = launch.env("KUBECONFIG", &cluster.kubeconfig().display().to_string());
        let seed = |name: &str| -> Result<Output> {
            let place = format!("{namespace}/{name}");
            Ok(launch.command(&["seed", "--secret", &place, "--context", CONTEXT])?.output()?)
        };
        let secret = || -> Result<Value> {
            let text = run(cluster.kubectl(&namespace)?.args(["get", "secret", "admin", "--output=json"]))?;
            Ok(serde_json::from_str(&text)?)
        };
        // Another's is left alone, and nothing was made by then.
        let foreign = ["create", "secret", "generic", "foreign", "--from-literal=a=b"];
        run(cluster.kubectl(&namespace)?.args(foreign))?;
        assert_refused(&seed("foreign")?, 2, &["foreign", "paddock.dev/bootstrap"])?;
        assert_refused(&seed("No_Such_Name")?, 1, &["No_Such_Name", "cannot be written"])?;

        ensure!(said(seed("admin")?)?.is_empty());
        let written = secret()?;
        for name in ["EMAIL", "PASSWORD", "API_KEY"] {
            ensure!(written["data"][format!("BOOTSTRAP_ADMIN_{name}")].is_string(), "{name} is missing");
        }
        ensure!(said(seed("admin")?)?.is_empty());
        ensure!(secret()? == written, "the second time changes nothing");
        Ok(())
    })
    .await;
}
