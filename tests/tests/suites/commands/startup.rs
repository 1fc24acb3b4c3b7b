//! When a server does not start, and what protects the well-known admin password.

use std::{
    net::TcpListener,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::FakeOllama,
    paddock::{Launch, Paddock},
    process::Signal,
    reaper,
    story::story,
    testbed::repository,
};
use reqwest::StatusCode;
use rstest::rstest;
use tempfile::TempDir;

use super::{STRONG_SECRET, assert_refused, bare_command, paddock, successful};

struct Setup {
    database: Database,
    ollama: FakeOllama,
}

impl Setup {
    async fn new(engine: Engine) -> Result<Self> {
        Ok(Self { database: Database::new(engine).await?, ollama: FakeOllama::start(&["smollm2:135m"]).await? })
    }

    fn launch(&self, arguments: &[&str]) -> Result<Launch> {
        Ok(Launch::new(arguments, self.database.url())?.ollama(&self.ollama.url()))
    }

    /// A database that `run --env dev` has been used on, so that its admin has the well-known
    /// password.
    async fn after_dev() -> Result<Self> {
        let setup = Self::new(Engine::Sqlite).await?;
        setup.launch(&["run", "--env", "dev"])?.start().await?;
        Ok(setup)
    }
}

/// Signs the admin in with the well-known password, under this name of the server.
async fn sign_in_as_dev_admin(server: &Paddock, host: Option<&str>) -> Result<reqwest::Response> {
    let known = serde_json::json!({"username": "admin@example.com", "password": "admin"});
    let request = reqwest::Client::new().post(format!("{}/auth/login", server.url())).json(&known);
    Ok(host.iter().fold(request, |request, host| request.header("host", *host)).send().await?)
}

async fn health_at_host(server: &Paddock, host: &str) -> Result<StatusCode> {
    let request = reqwest::Client::new().get(format!("{}/healthz", server.url())).header("host", host);
    Ok(request.send().await?.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_has_one_server() {
    story(async {
        let setup = Setup::new(Engine::Sqlite).await?;
        let (_server, _) = Paddock::seeded(setup.launch(&["api"])?).await?;
        for verb in ["api", "run", "migrate", "seed"] {
            let output = setup.launch(&[verb])?.env("LISTEN_ADDR", "127.0.0.1:0").command(&[verb])?.output()?;
            assert_refused(&output, 1, &["paddock.db"]).context(verb)?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_names_the_command_for_a_served_sqlite_file() {
    story(async {
        let setup = Setup::new(Engine::Sqlite).await?;
        let (_server, _) = Paddock::seeded(setup.launch(&["api"])?).await?;
        let output = setup.launch(&["seed"])?.command(&["seed"])?.output()?;
        assert_refused(&output, 1, &["`paddock user create", "--server", "PADDOCK_TOKEN"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_sqlite_file_can_be_read() {
    story(async {
        let setup = Setup::new(Engine::Sqlite).await?;
        let launch = setup.launch(&["api"])?;
        let (_server, _) = Paddock::seeded(launch.clone()).await?;
        successful(launch.command(&["audit", "verify"])?.output()?)?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_behind_is_not_served(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let launch = Launch::new(&["api"], database.url())?;
        launch.seed()?;
        database.execute("DELETE FROM _sqlx_migrations").await?;
        for verb in ["api", "seed"] {
            let output = launch.command(&[verb])?.output()?;
            assert_refused(&output, 1, &["paddock migrate"]).context(verb)?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.env("AUDIT_SIGNING_KEY", STRONG_SECRET);
        launch.seed()?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let port = taken.local_addr()?.port().to_string();
        let output = launch.command(&["api"])?.env("PORT", &port).output()?;
        assert_refused(&output, 1, &["LISTEN_ADDR", &port])
    })
    .await;
}

/// In the local environment the metrics take any free port instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_metrics_port_is_named_in_prod() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?
            .env("AUDIT_SIGNING_KEY", STRONG_SECRET)
            .env("JWT_SECRET", STRONG_SECRET);
        launch.seed()?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let address = taken.local_addr()?.to_string();
        let mut command = launch.command(&["api"])?;
        let output = command.env("ENVIRONMENT", "prod").env("METRICS_ADDR", &address).output()?;
        assert_refused(&output, 1, &["METRICS_ADDR", &address])
    })
    .await;
}

#[rstest]
#[case::api(&["api"])]
#[case::seed(&["seed"])]
#[case::audit_verify(&["audit", "verify"])]
#[case::set_password(&["user", "set-password", "a@example.com", "--local"])]
#[tokio::test]
async fn a_command_without_a_database_creates_no_file(#[case] arguments: &[&str]) {
    story(async {
        let folder = reaper::scratch_dir("keys")?;
        let output = bare_command(arguments)?.current_dir(folder.path()).output()?;
        assert_refused(&output, 2, &["paddock.db", "paddock migrate"])?;
        let created =
            std::fs::read_dir(folder.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        ensure!(created.is_empty(), "{created:?}");
        Ok(())
    })
    .await;
}

/// A folder in which `paddock migrate` and `paddock seed` made a database and its keys.
fn seeded_folder() -> Result<TempDir> {
    let folder = reaper::scratch_dir("keys")?;
    for verb in ["migrate", "seed"] {
        successful(bare_command(&[verb])?.current_dir(folder.path()).output()?)?;
    }
    Ok(folder)
}

#[tokio::test]
async fn a_lost_audit_key_is_not_replaced() {
    story(async {
        let folder = seeded_folder()?;
        let key = folder.path().join("paddock.db.audit-key");
        std::fs::remove_file(&key)?;
        let output = bare_command(&["api"])?.current_dir(folder.path()).output()?;
        assert_refused(&output, 1, &["AUDIT_SIGNING_KEY", ".audit-key"])?;
        ensure!(!key.exists(), "another key was made");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn audit_verify_uses_the_key_beside_the_database() {
    story(async {
        let folder = seeded_folder()?;
        successful(bare_command(&["audit", "verify"])?.current_dir(folder.path()).output()?)?;
        Ok(())
    })
    .await;
}

const VERBS: [&str; 13] = [
    "run",
    "api",
    "operator",
    "migrate",
    "seed",
    "crds",
    "openapi",
    "config",
    "user",
    "key",
    "usage",
    "audit",
    "healthcheck",
];

#[tokio::test]
async fn every_command_has_help() {
    story(async {
        let help = successful(paddock(&["--help"], &[])?)?;
        for verb in VERBS {
            ensure!(help.contains(&format!("\n  {verb} ")), "{verb} is not in {help}");
            ensure!(successful(paddock(&[verb, "--help"], &[])?)?.contains("Usage: paddock"), "{verb} --help");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::crds("crds", "crds/yaml/paddock.dev.yaml")]
#[case::openapi("openapi", "api/openapi.json")]
#[tokio::test]
async fn printed_files_are_those_of_the_repository(#[case] verb: &str, #[case] path: &str) {
    story(async {
        let file = std::fs::read_to_string(repository().join(path))?;
        ensure!(successful(paddock(&[verb], &[])?)? == file, "run `make generate`");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_succeeds_only_while_a_server_answers() {
    story(async {
        let setup = Setup::new(Engine::Sqlite).await?;
        let launch = setup.launch(&["api"])?;
        let (server, _) = Paddock::seeded(launch.clone()).await?;
        let healthcheck = || -> Result<Output> { Ok(Command::output(&mut launch.command(&["healthcheck"])?)?) };
        successful(healthcheck()?)?;
        server.process().signal(Signal::Kill)?;
        server.process().wait_for_exit(Duration::from_secs(10)).await?;
        assert_refused(&healthcheck()?, 1, &["/healthz"])
    })
    .await;
}

#[rstest]
#[case::this_machine(None, 200)]
#[case::another_name(Some("evil.example:8080"), 403)]
#[tokio::test(flavor = "multi_thread")]
async fn the_dev_password_signs_in_under_a_local_name_only(#[case] host: Option<&str>, #[case] status: u16) {
    story(async {
        let setup = Setup::new(Engine::Sqlite).await?;
        let dev = setup.launch(&["run", "--env", "dev"])?.start().await?;
        let answer = sign_in_as_dev_admin(&dev, host).await?;
        ensure!(answer.status() == status, "{}", answer.status());
        ensure!(status == 200 || answer.text().await?.contains("ADMIN_BOOTSTRAP_PASSWORD"));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::api("api")]
#[case::run("run")]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_the_dev_password_is_not_served_to_the_network(#[case] verb: &str) {
    story(async {
        let setup = Setup::after_dev().await?;
        let output = setup.launch(&[verb])?.env("LISTEN_ADDR", "0.0.0.0:0").command(&[verb])?.output()?;
        assert_refused(&output, 2, &["paddock user set-password admin@example.com --local"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_the_dev_password_is_not_served_under_other_names() {
    story(async {
        let setup = Setup::after_dev().await?;
        let server = setup.launch(&["api"])?.start().await?;
        ensure!(health_at_host(&server, "evil.example").await? == 403);
        Ok(())
    })
    .await;
}

/// It would then also be served to the network, which this story does not try on a machine that has
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_dev_password_opens_the_server_to_other_names() {
    story(async {
        let setup = Setup::after_dev().await?;
        let launch = setup.launch(&["api"])?;
        let arguments = ["user", "set-password", "admin@example.com", "--local"];
        successful(launch.command(&arguments)?.output()?)?;
        let server = launch.start().await?;
        ensure!(health_at_host(&server, "evil.example").await? == 200);
        Ok(())
    })
    .await;
}

/// The server started before the database had an admin with that password.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_does_not_accept_the_dev_password_of_another() {
    story(async {
        let setup = Setup::new(Engine::Postgres).await?;
        successful(setup.launch(&["migrate"])?.command(&["migrate"])?.output()?)?;
        let server = setup.launch(&["api"])?.start().await?;
        let dev = setup.launch(&["run", "--env", "dev"])?.start().await?;
        for (paddock, status) in [(&dev, 200), (&server, 401)] {
            let answer = sign_in_as_dev_admin(paddock, None).await?;
            ensure!(answer.status() == status, "{}", answer.status());
        }
        Ok(())
    })
    .await;
}
