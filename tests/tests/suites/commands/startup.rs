//! The executable as its user meets it at a prompt: what it says, and with which exit code it ends.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::fake_ollama::FakeOllama;
use paddock_tests::paddock::{Bootstrap, Launch, Paddock};
use paddock_tests::process::{Signal, free_port};
use paddock_tests::reaper;
use paddock_tests::story::story;
use paddock_tests::testbed::repository;
use rstest::rstest;

use super::{STRONG_SECRET, UNREACHABLE_DATABASE, assert_refused, paddock, said};

#[rstest]
#[case::another_engine(&["api"], &[("DATABASE_URL", "mysql://app@db/app")], &["DATABASE_URL", "mysql:", "postgres://"])]
#[case::no_engine(&["migrate"], &[("DATABASE_URL", "paddock.db")], &["DATABASE_URL", "no scheme", "sqlite:"])]
#[case::no_file(&["api"], &[("LISTEN_ADDR", "127.0.0.1:0")], &["paddock.db does not exist", "paddock migrate"])]
#[case::prod_without_database(&["api"], &[("ENVIRONMENT", "prod")], &["DATABASE_URL", "postgres://"])]
#[case::prod_without_audit_key(
    &["api"],
    &[("ENVIRONMENT", "prod"), ("DATABASE_URL", UNREACHABLE_DATABASE), ("JWT_SECRET", STRONG_SECRET)],
    &["AUDIT_SIGNING_KEY", "openssl rand -hex 32"],
)]
#[case::prod_without_jwt_secret(
    &["run"],
    &[("ENVIRONMENT", "prod"), ("DATABASE_URL", UNREACHABLE_DATABASE), ("AUDIT_SIGNING_KEY", STRONG_SECRET)],
    &["JWT_SECRET", "openssl rand -hex 32"],
)]
#[case::a_short_secret(&["api"], &[("JWT_SECRET", "short"), ("AUDIT_SIGNING_KEY", STRONG_SECRET)], &["JWT_SECRET", "32"])]
#[case::a_known_secret(
    &["api"],
    &[
        ("ENVIRONMENT", "prod"),
        ("DATABASE_URL", UNREACHABLE_DATABASE),
        ("AUDIT_SIGNING_KEY", STRONG_SECRET),
        ("JWT_SECRET", "change-me-change-me-change-me-change-me"),
    ],
    &["JWT_SECRET", "example"],
)]
#[case::another_algorithm(&["run"], &[("JWT_ALG", "none")], &["JWT_ALG", "HS256"])]
#[case::no_url(&["run"], &[("OLLAMA_BASE_URL", "localhost:11434")], &["OLLAMA_BASE_URL", "http"])]
#[case::a_secret_twice(
    &["run"],
    &[("JWT_SECRET", STRONG_SECRET), ("JWT_SECRET_FILE", "/nowhere/it")],
    &["JWT_SECRET and JWT_SECRET_FILE are both set"],
)]
#[case::no_port(&["api"], &[("PORT", "http")], &["PORT `http`", "8080"])]
#[case::no_address(&["api"], &[("LISTEN_ADDR", "8080")], &["LISTEN_ADDR `8080`", "127.0.0.1:8080"])]
#[case::no_duration(&["api"], &[("DRAIN_TIMEOUT", "30")], &["DRAIN_TIMEOUT `30`", "90s"])]
#[case::no_password_length(&["migrate"], &[("PASSWORD_MIN_LENGTH", "7")], &["PASSWORD_MIN_LENGTH `7`", "8 to 128"])]
#[case::no_number(&["migrate"], &[("DB_MAX_CONNECTIONS", "1")], &["DB_MAX_CONNECTIONS `1`", "2 to 1000"])]
#[case::no_environment(&["seed"], &[("ENVIRONMENT", "staging")], &["ENVIRONMENT `staging`", "local", "prod"])]
#[case::neither_yes_nor_no(
    &["seed"],
    &[("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "maybe")],
    &["ADMIN_BOOTSTRAP_PASSWORD_FORCE `maybe`", "yes"],
)]
#[case::no_collector(
    &["api"],
    &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
    &["OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"],
)]
#[case::no_proxy(&["api"], &[("TRUSTED_PROXIES", "10.0.0.0/8,nginx")], &["TRUSTED_PROXIES `nginx`", "10.0.0.0/8"])]
#[case::a_proxy_with_a_length(&["api"], &[("TRUSTED_PROXIES", "10.1.2.3/8")], &["TRUSTED_PROXIES `10.1.2.3/8`", "10.0.0.0/8 or 10.1.2.3"])]
#[case::everyone_a_proxy(&["api"], &[("TRUSTED_PROXIES", "::/0")], &["TRUSTED_PROXIES `::/0` trusts everyone", "10.0.0.0/8"])]
#[case::any_page(&["api"], &[("CORS_ALLOWED_ORIGINS", "*")], &["CORS_ALLOWED_ORIGINS `*`", "https://app.example.com"])]
#[case::no_origin(
    &["api"],
    &[("CORS_ALLOWED_ORIGINS", "https://a.example,https://b.example/ui")],
    &["CORS_ALLOWED_ORIGINS `https://b.example/ui`", "https://app.example.com"],
)]
#[case::no_level(&["api"], &[("LOG_LEVEL", "verbose")], &["LOG_LEVEL `verbose`", "not a level", "warn, info", "info,sqlx=warn"])]
#[case::nearly_a_level(&["migrate"], &[("LOG_LEVEL", "warning")], &["LOG_LEVEL `warning`", "warn, info"])]
#[case::a_level_and_no_level(&["run"], &[("LOG_LEVEL", "info,noisy")], &["LOG_LEVEL", "`noisy` is not a level"])]
#[case::no_filter(&["run"], &[("LOG_LEVEL", "sqlx=loud")], &["LOG_LEVEL `sqlx=loud`", "info,sqlx=warn"])]
#[case::no_token(&["user", "list"], &[], &["PADDOCK_TOKEN is not set", "PADDOCK_TOKEN_FILE"])]
#[case::no_keys(
    &["key", "revoke", "--dry-run"],
    &[],
    &["name ids, or --user, --label, --older-than or --unused-for"],
)]
#[case::a_slash_in_a_password(
    &["migrate"],
    &[("DATABASE_URL", "postgres://app:12/34@db:5432/app")],
    &["DATABASE_URL", "%2F", "postgres://user:password@host:5432/name"],
)]
#[case::no_secret_name(&["seed", "--secret", "bootstrap"], &[], &["--secret `bootstrap`", "namespace/name"])]
#[case::any_cluster_to_write_to(&["seed", "--secret", "a/b"], &[], &["--context"])]
#[case::no_folder_to_write_to(&["seed", "--output-file", "/nowhere/it"], &[], &["--output-file", "/nowhere/it"])]
#[case::no_such_secret_file(&["run"], &[("JWT_SECRET_FILE", "/nowhere/it")], &["JWT_SECRET_FILE", "/nowhere/it"])]
#[case::everyone_and_a_known_password(
    &["run", "--env", "dev"],
    &[("LISTEN_ADDR", "0.0.0.0:0")],
    &["LISTEN_ADDR", "ADMIN_BOOTSTRAP_PASSWORD"],
)]
#[case::prod_without_public_url(
    &["run", "--operator", "--context", "none"],
    &[("ENVIRONMENT", "prod"), ("DATABASE_URL", UNREACHABLE_DATABASE), ("JWT_SECRET", STRONG_SECRET), ("AUDIT_SIGNING_KEY", STRONG_SECRET), ("PORT", "0")],
    &["PUBLIC_URL", "http://"],
)]
#[case::any_cluster(&["run", "--operator"], &[("PORT", "0")], &["--context"])]
#[tokio::test]
async fn a_wrong_setting_is_named_with_a_right_value(
    #[case] arguments: &[&str],
    #[case] variables: &[(&str, &str)],
    #[case] words: &[&str],
) {
    story(async { assert_refused(&paddock(arguments, variables)?, 2, words) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_has_one_server_and_any_number_of_readers() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        let (_served, _) = Paddock::seeded(launch.clone()).await?;
        for verb in ["api", "run", "migrate", "seed"] {
            let output = launch.clone().env("LISTEN_ADDR", "127.0.0.1:0").command(&[verb])?.output()?;
            assert_refused(&output, 1, &["another paddock serves", "paddock.db"]).context(verb)?;
        }
        assert_refused(
            &launch.command(&["seed"])?.output()?,
            1,
            &["`paddock user create", "--server", "PADDOCK_TOKEN"],
        )?;
        let output = launch.command(&["audit", "verify"])?.output()?;
        ensure!(output.status.success(), "{output:?}");
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
            assert_refused(&output, 1, &["migration(s) behind", "paddock migrate"]).context(verb)?;
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
        let taken = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let _held = TcpListener::bind(taken)?;
        let (port, addr) = (taken.port().to_string(), taken.to_string());
        let output = launch.command(&["api"])?.env("PORT", &port).output()?;
        assert_refused(&output, 1, &["LISTEN_ADDR", &port, "in use"])?;
        // In local metrics take any free port instead; elsewhere someone scrapes the one that was named.
        let mut prod = launch.command(&["api"])?;
        prod.env("ENVIRONMENT", "prod").env("JWT_SECRET", STRONG_SECRET);
        assert_refused(&prod.env("METRICS_ADDR", &addr).output()?, 1, &["METRICS_ADDR", &port, "in use"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_needs_nothing_and_tells_secrets_once() {
    story(async {
        let ollama = FakeOllama::start(&["smollm2:135m"]).await?;
        let folder = reaper::scratch_dir("run")?;
        let start = async || -> Result<(String, String)> {
            let url = format!("http://127.0.0.1:{}", free_port()?);
            let metrics = format!("127.0.0.1:{}", free_port()?);
            let mut command = Launch::new(&["run"], "unset")?.command(&["run"])?;
            for name in ["DATABASE_URL", "JWT_SECRET", "AUDIT_SIGNING_KEY", "ENVIRONMENT"] {
                command.env_remove(name);
            }
            let addr = url.trim_start_matches("http://");
            command.env("LISTEN_ADDR", addr).env("METRICS_ADDR", metrics).env("OLLAMA_BASE_URL", ollama.url());
            command.current_dir(folder.path());
            let process = paddock_tests::process::Process::start("paddock", command, Signal::Term)?;
            let said = process
                .wait_until_ready(Duration::from_mins(1), async || {
                    let said = process.log().text();
                    ensure!(said.contains("Try it:"), "no table yet");
                    Ok(said)
                })
                .await?;
            process.signal(Signal::Term)?;
            let status = process.wait_for_exit(Duration::from_secs(10)).await?;
            ensure!(status.success(), "{status}");
            Ok((url, said))
        };
        let (url, said) = start().await?;
        let admin = Bootstrap::from_output(&said)?;
        for words in [url.as_str(), "paddock.db", "signs in", &ollama.url(), "operator"] {
            ensure!(said.contains(words), "no {words} in {said}");
        }
        let (_, said) = start().await?;
        for secret in [&admin.key, &admin.password] {
            ensure!(!said.contains(secret.as_str()), "told twice: {said}");
        }
        for file in ["paddock.db", "paddock.db.jwt-secret", "paddock.db.audit-key"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = folder.path().join(file).metadata()?.permissions().mode();
            ensure!(mode & 0o777 == 0o600, "{file} has mode {mode:o}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_for_a_database_that_is_there_and_for_no_other() {
    story(async {
        let folder = reaper::scratch_dir("keys")?;
        let command = |arguments: &[&str]| -> Result<Command> {
            let mut command = Launch::new(arguments, "unset")?.command(arguments)?;
            for name in ["DATABASE_URL", "JWT_SECRET", "AUDIT_SIGNING_KEY"] {
                command.env_remove(name);
            }
            command.current_dir(folder.path());
            Ok(command)
        };
        for verb in
            [&["api"][..], &["seed"], &["audit", "verify"], &["user", "set-password", "a@example.com", "--local"]]
        {
            assert_refused(&command(verb)?.output()?, 2, &["paddock.db does not exist", "paddock migrate"])
                .with_context(|| verb.join(" "))?;
            ensure!(std::fs::read_dir(folder.path())?.next().is_none(), "{verb:?} left something");
        }
        for verb in ["migrate", "seed"] {
            let output = command(&[verb])?.output()?;
            ensure!(output.status.success(), "{output:?}");
        }
        let key = folder.path().join("paddock.db.audit-key");
        let away = folder.path().join("away");
        std::fs::rename(&key, &away)?;
        assert_refused(&command(&["api"])?.output()?, 1, &["AUDIT_SIGNING_KEY is not the key", ".audit-key"])?;
        ensure!(!key.exists(), "another key was made");
        std::fs::rename(&away, &key)?;
        let output = command(&["audit", "verify"])?.output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_command_has_help_and_the_printed_files_are_those_of_the_repository() {
    story(async {
        let stdout = |arguments: &[&str]| -> Result<String> {
            let output = paddock(arguments, &[])?;
            ensure!(output.status.success(), "{arguments:?}: {output:?}");
            Ok(String::from_utf8(output.stdout)?)
        };
        let verbs = [
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
        let help = stdout(&["--help"])?;
        for verb in verbs {
            ensure!(help.contains(&format!("\n  {verb} ")), "{verb} is not in {help}");
            ensure!(stdout(&[verb, "--help"])?.contains("Usage: paddock"), "{verb} --help");
        }
        let file = |path: &str| Ok::<_, anyhow::Error>(std::fs::read_to_string(repository().join(path))?);
        ensure!(stdout(&["crds"])? == file("crds/yaml/paddock.dev.yaml")?, "run `make generate`");
        ensure!(stdout(&["openapi"])? == file("api/openapi.json")?, "run `make generate`");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_tells_whether_a_server_is_well() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        let (served, _) = Paddock::seeded(launch.clone()).await?;
        let ask = || -> Result<Output> { Ok(Command::output(&mut launch.command(&["healthcheck"])?)?) };
        ensure!(ask()?.status.success());
        served.process().signal(Signal::Kill)?;
        served.process().wait_for_exit(Duration::from_secs(10)).await?;
        assert_refused(&ask()?, 1, &["/healthz does not answer"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_whose_password_everybody_knows_is_for_this_machine_alone() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let paddock = Launch::new(&["run", "--env", "dev"], database.url())?.ollama(&ollama.url()).start().await?;
        let sign_in = || {
            let known = serde_json::json!({"username": "admin@example.com", "password": "admin"});
            reqwest::Client::new().post(format!("{}/auth/login", paddock.url())).json(&known)
        };
        ensure!(sign_in().send().await?.status() == 200);
        // As a page does whose name leads here.
        let answer = sign_in().header("host", "evil.example:8080").send().await?;
        ensure!(answer.status() == 403, "{}", answer.status());
        ensure!(answer.text().await?.contains("ADMIN_BOOTSTRAP_PASSWORD"));
        drop(paddock);

        // It outlives the environment that it was meant for.
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url()).env("LISTEN_ADDR", "0.0.0.0:0");
        for verb in ["api", "run"] {
            let output = launch.command(&[verb])?.output()?;
            assert_refused(&output, 2, &["everybody knows", "paddock user set-password admin@example.com --local"])?;
        }
        let local = Launch::new(&["api"], database.url())?.ollama(&ollama.url()).start().await?;
        let evil = reqwest::Client::new().get(format!("{}/healthz", local.url())).header("host", "evil.example");
        ensure!(evil.send().await?.status() == 403);
        drop(local);
        let mut command = launch.command(&["user", "set-password", "admin@example.com", "--local"])?;
        let told = said(command.output()?)?;
        ensure!(told.contains("password"), "{told}");
        // Now it may listen to others, which this story need not try on a machine that has some.
        let database = Launch::new(&["api"], database.url())?.ollama(&ollama.url()).start().await?;
        let other = reqwest::Client::new().get(format!("{}/healthz", database.url())).header("host", "evil.example");
        ensure!(other.send().await?.status() == 200);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_for_others_takes_the_known_password_for_a_wrong_one() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Postgres).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let launch = |verb: &[&str]| Ok::<_, anyhow::Error>(Launch::new(verb, database.url())?.ollama(&ollama.url()));
        said(launch(&["migrate"])?.command(&["migrate"])?.output()?)?;
        // It began when nobody had the password.
        let served = launch(&["api"])?.start().await?;
        let dev = launch(&["run", "--env", "dev"])?.start().await?;
        for (paddock, status) in [(&dev, 200), (&served, 401)] {
            let known = serde_json::json!({"username": "admin@example.com", "password": "admin"});
            let answer =
                reqwest::Client::new().post(format!("{}/auth/login", paddock.url())).json(&known).send().await?;
            ensure!(answer.status() == status, "{}", answer.status());
        }
        Ok(())
    })
    .await;
}
