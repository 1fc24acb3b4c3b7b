//! Variables as real machines have them: links of Kubernetes Services, names that are nearly right,
//! settings without effect, URLs of hosted databases, and passwords with a percent sign.

use std::{collections::BTreeMap, fs, process::Output};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    paddock::Launch,
    postgres::{Durability, Postgres},
    reaper,
    story::story,
};
use rstest::rstest;
use serde_json::Value;

use super::{STRONG_SECRET, assert_refused, bare_command, paddock, successful, successful_json};

fn configuration(variables: &[(&str, &str)]) -> Result<Value> {
    successful_json(paddock(&["config", "-o", "json"], variables)?)
}

fn standard_error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn links_of_a_service_are_passed_over() {
    story(async {
        let links = [
            ("DB_PORT", "tcp://10.96.0.12:5432"),
            ("DB_PORT_5432_TCP", "tcp://10.96.0.12:5432"),
            ("DB_PORT_5432_TCP_PORT", "5432"),
            ("DB_SERVICE_HOST", "10.96.0.12"),
            ("DB_SERVICE_PORT", "5432"),
            ("PADDOCK_PORT", "tcp://10.96.0.13:8080"),
        ];
        let alone = configuration(&links)?;
        ensure!(alone["DATABASE_URL"]["value"] == "sqlite:paddock.db", "{}", alone["DATABASE_URL"]);
        let keys = [("JWT_SECRET", STRONG_SECRET), ("AUDIT_SIGNING_KEY", STRONG_SECRET), ("DB_HOST", "db")];
        let beside = configuration(&[&links[..], &keys].concat())?;
        ensure!(beside["DB_PORT"]["value"] == "5432", "{}", beside["DB_PORT"]);
        let said = standard_error(&paddock(&["config"], &links)?);
        ensure!(said.lines().count() == 1 && said.contains("DB_PORT") && !said.contains("WARN"), "{said}");
        // As a flag it is a mistake.
        let flag = paddock(&["config", "--db-port", "tcp://10.96.0.12:5432"], &[])?;
        ensure!(flag.status.code() == Some(2), "{flag:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case("RATE_LIMIT", "RATE_LIMIT_PER_MINUTE")]
#[case("PADDOCK_JWT_SECRET", "JWT_SECRET")]
#[case("DB_USER_FILE", "DB_USER")]
#[tokio::test]
async fn a_name_close_to_a_setting_gets_a_warning(#[case] name: &str, #[case] setting: &str) {
    story(async {
        let output = paddock(&["config"], &[(name, "hunter22")])?;
        let said = standard_error(&output);
        successful(output)?;
        ensure!(said.lines().count() == 1 && said.contains("WARN"), "{said}");
        ensure!(
            said.contains(&format!("variable={name:?}")) && said.contains(&format!("setting={setting:?}")),
            "{said}"
        );
        ensure!(!said.contains("hunter22"), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn known_and_foreign_names_get_no_warning() {
    story(async {
        let variables = [
            ("RATE_LIMIT_PER_MINUTE", "5"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OLLAMA_HOST", "127.0.0.1"),
            ("PGPASSWORD", "x"),
            ("PADDOCK_TOKEN", "x"),
            ("REDIS_SERVICE_HOST", "10.96.0.1"),
        ];
        let said = standard_error(&paddock(&["config"], &variables)?);
        ensure!(said.is_empty(), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_setting_without_effect_is_not_judged() {
    story(async {
        let url = [
            ("DATABASE_URL", "sqlite:paddock.db"),
            ("DB_PORT", "many"),
            ("DB_HOST", "db:5432"),
            ("DB_PASSWORD", "x"),
            ("DB_PASSWORD_FILE", "/nowhere/it"),
        ];
        let config = configuration(&url)?;
        ensure!(config["DATABASE_URL"]["value"] == "sqlite:paddock.db", "{}", config["DATABASE_URL"]);
        // Without the URL each of them counts.
        assert_refused(&paddock(&["config"], &url[1..2])?, 2, &["DB_PORT `many`"])?;
        // `--env` replaces ENVIRONMENT, so only the algorithm is wrong.
        let environment = [("ENVIRONMENT", "staging"), ("JWT_ALG", "none")];
        assert_refused(&paddock(&["run", "--env", "dev"], &environment)?, 2, &["JWT_ALG"])?;
        // The operator limits no requests.
        let limits = [("RATE_LIMIT_PER_MINUTE", "many"), ("TRUSTED_PROXIES", "nginx"), ("JWT_ALG", "none")];
        assert_refused(&paddock(&["operator"], &limits)?, 2, &["JWT_ALG"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_a_hosted_database_starts_with_one_warning() {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        let harmless = [
            "connect_timeout=10",
            "target_session_attrs=read-write",
            "gssencmode=disable",
            "keepalives=1",
            "keepalives_idle=30",
            "sslnegotiation=postgres",
            "options=-c%20work_mem%3D8MB",
        ];
        let url = |parameters: &[&str]| format!("{}?{}", database.url(), parameters.join("&"));
        let migrate = |url: &str| -> Result<Vec<String>> {
            let output = Launch::new(&["migrate"], url)?.command(&["migrate"])?.output()?;
            let warnings: Vec<_> =
                standard_error(&output).lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect();
            successful(output)?;
            Ok(warnings)
        };
        let warnings = migrate(&url(&harmless))?;
        let [said] = warnings.as_slice() else { anyhow::bail!("{warnings:?}") };
        for parameter in &harmless[..6] {
            let (name, _) = parameter.split_once('=').context("a name")?;
            ensure!(said.contains(name), "no {name} in {said}");
        }
        ensure!(!said.contains("options") && !said.contains("work_mem"), "{said}");

        let weaker = migrate(&url(&["channel_binding=require", "connect_timeout=10"]))?;
        let [without_effect, unprotected] = weaker.as_slice() else { anyhow::bail!("{weaker:?}") };
        ensure!(
            without_effect.contains("connect_timeout") && !without_effect.contains("channel_binding"),
            "{weaker:?}"
        );
        ensure!(unprotected.contains("channel_binding") && unprotected.contains("weaker"), "{weaker:?}");
        Ok(())
    })
    .await;
}

/// A cluster whose role, password and database have names that decoding would change.
struct Encoded {
    postgres: Postgres,
    name: &'static str,
    password: &'static str,
}

impl Encoded {
    async fn start() -> Result<Self> {
        let encoded =
            Self { postgres: Postgres::start(Durability::Relaxed).await?, name: "a%2Fb c", password: "S3cr%2Fet@:/" };
        let (owner, Self { name, password, .. }) = (Database::open(encoded.postgres.url())?, &encoded);
        owner.execute(&format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")).await?;
        owner.execute(&format!("CREATE DATABASE \"{name}\" OWNER \"{name}\"")).await?;
        let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        let folder = encoded.postgres.data_dir().context("the test's own cluster")?;
        fs::write(folder.join("pg_hba.conf"), rules)?;
        owner.execute("SELECT pg_reload_conf()").await?;
        Ok(encoded)
    }

    /// The settings without the password.
    fn settings(&self) -> Result<BTreeMap<&'static str, String>> {
        let (_, address) = self.postgres.url().split_once('@').context("a user")?;
        let port = address.split([':', '/']).nth(1).context("a port")?;
        Ok(BTreeMap::from([
            ("DB_HOST", "127.0.0.1".to_owned()),
            ("DB_PORT", port.to_owned()),
            ("DB_USER", self.name.to_owned()),
            ("DB_NAME", self.name.to_owned()),
        ]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_the_database_are_taken_literally() {
    story(async {
        let encoded = Encoded::start().await?;
        let folder = reaper::scratch_dir("parts")?;
        let file = folder.path().join("password");
        fs::write(&file, format!("{}\n", encoded.password))?;
        let file = file.display().to_string();
        for (name, value) in [("DB_PASSWORD", encoded.password), ("DB_PASSWORD_FILE", &file)] {
            let mut command = bare_command(&["migrate"])?;
            command.envs(encoded.settings()?).env(name, value);
            successful(command.output()?).with_context(|| name.to_owned())?;
        }
        let mut wrong = bare_command(&["migrate"])?;
        wrong.envs(encoded.settings()?).env("DB_PASSWORD", encoded.password.replace("%2F", "/"));
        assert_refused(&wrong.output()?, 1, &["password authentication failed", "DB_PASSWORD"])
    })
    .await;
}

#[tokio::test]
async fn an_authority_is_not_repeated_with_its_password() {
    story(async {
        for (host, word) in [("app:hunter22@db", "DATABASE_URL"), ("db:5432", "DB_PORT"), ("a,b", "several")] {
            let output = paddock(
                &["config"],
                &[("DB_HOST", host), ("JWT_SECRET", STRONG_SECRET), ("AUDIT_SIGNING_KEY", STRONG_SECRET)],
            )?;
            assert_refused(&output, 2, &["DB_HOST", word])?;
            ensure!(!standard_error(&output).contains("hunter22"), "{output:?}");
        }
        Ok(())
    })
    .await;
}
