//! `paddock config`, and the documentation of every variable.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{reaper, story::story, testbed::repository};
use serde_json::{Value, json};

use super::{STRONG_SECRET, UNREACHABLE_DATABASE, assert_refused, bare_command, paddock, successful, successful_json};

#[tokio::test]
async fn effective_settings_are_shown_with_their_source() {
    story(async {
        let folder = reaper::scratch_dir("config")?;
        let file = folder.path().join("jwt");
        std::fs::write(&file, format!("{STRONG_SECRET}\n"))?;
        let file = file.display().to_string();
        let variables = [
            ("AUDIT_SIGNING_KEY", STRONG_SECRET),
            ("JWT_SECRET_FILE", file.as_str()),
            ("DB_PASSWORD", "hunter22"),
            ("DB_HOST", "db1"),
            ("REDIS_URL", "redis://:hunter22@redis:6379/3"),
            ("PORT", "9999"),
            // Empty, as a compose file sets omitted variables.
            ("JWT_SECRET", ""),
            ("MODEL_REGISTRIES", ""),
            ("DRAIN_TIMEOUT", ""),
        ];
        let config = successful_json(paddock(&["config", "-o", "json", "--log-level", "debug"], &variables)?)?;
        let expected = [
            ("DATABASE_URL", json!("postgres://app:***@db1:5432/app"), "from DB_*".to_owned()),
            ("DB_PASSWORD", json!("(set)"), "environment".to_owned()),
            ("DB_HOST", json!("db1"), "environment".to_owned()),
            ("DB_USER", json!("app"), "default".to_owned()),
            ("DB_PORT", json!("5432"), "default".to_owned()),
            ("DB_NAME", json!("app"), "default".to_owned()),
            ("REDIS_URL", json!("redis://:***@redis:6379/3"), "environment".to_owned()),
            ("JWT_SECRET", json!("(set)"), format!("file {file}")),
            ("AUDIT_SIGNING_KEY", json!("(set)"), "environment".to_owned()),
            ("LISTEN_ADDR", json!("127.0.0.1:9999"), "with PORT".to_owned()),
            ("LOG_LEVEL", json!("debug"), "flag".to_owned()),
            ("LOG_FORMAT", json!("text"), "default".to_owned()),
            ("MODEL_REGISTRIES", json!("registry.ollama.ai"), "default".to_owned()),
            ("DRAIN_TIMEOUT", json!("30s"), "default".to_owned()),
            ("MAX_PULLS", json!("2"), "default".to_owned()),
            ("OLLAMA_BASE_URL", json!("http://localhost:11434/"), "default".to_owned()),
            ("PUBLIC_URL", json!("http://127.0.0.1:9999"), "default".to_owned()),
        ];
        for (name, value, source) in expected {
            ensure!(config[name] == json!({"value": value, "source": source}), "{name}: {}", config[name]);
        }
        let yaml = successful(paddock(&["config", "-o", "yaml"], &variables)?)?;
        let yaml: Value = serde_yaml_ng::from_str(&yaml)?;
        ensure!(yaml["DATABASE_URL"] == config["DATABASE_URL"], "{yaml}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn defaults_depend_on_the_environment_and_the_database() {
    story(async {
        let shown = |variables: &[(&str, &str)], name: &str| -> Result<Value> {
            let config = successful_json(paddock(&["config", "-o", "json"], variables)?)?;
            ensure!(config[name]["source"] == "default", "{name}: {}", config[name]);
            Ok(config[name]["value"].clone())
        };
        let prod = [
            ("ENVIRONMENT", "prod"),
            ("JWT_SECRET", STRONG_SECRET),
            ("AUDIT_SIGNING_KEY", STRONG_SECRET),
            ("DB_NAME", "paddock"),
        ];
        for (name, local, prod_value) in [
            ("LOG_FORMAT", json!("text"), json!("json")),
            ("PUBLIC_URL", json!("http://127.0.0.1:8080"), Value::Null),
            // SQLite has no such settings.
            ("DB_HOST", Value::Null, json!("db")),
            ("DB_PASSWORD", Value::Null, json!("(set)")),
        ] {
            ensure!(shown(&[], name)? == local, "{name} in local: {}", shown(&[], name)?);
            ensure!(shown(&prod, name)? == prod_value, "{name} in prod: {}", shown(&prod, name)?);
        }
        let url = [
            ("DATABASE_URL", UNREACHABLE_DATABASE),
            ("JWT_SECRET", STRONG_SECRET),
            ("AUDIT_SIGNING_KEY", STRONG_SECRET),
            ("DB_NAME", "other"),
        ];
        ensure!(shown(&url, "DB_HOST")?.is_null(), "DATABASE_URL takes precedence");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn showing_the_configuration_creates_no_file() {
    story(async {
        let folder = reaper::scratch_dir("config")?;
        let ask = || -> Result<String> { successful(bare_command(&["config"])?.current_dir(folder.path()).output()?) };
        let files = || -> Result<usize> { Ok(std::fs::read_dir(folder.path())?.count()) };
        let unseeded = ask()?;
        ensure!(unseeded.contains("(made at the first start)") && files()? == 0, "{unseeded}");
        successful(bare_command(&["migrate"])?.current_dir(folder.path()).output()?)?;
        successful(bare_command(&["seed"])?.current_dir(folder.path()).output()?)?;
        let (text, before) = (ask()?, files()?);
        ensure!(text.contains("paddock.db.jwt-secret") && !text.contains("(made"), "{text}");
        ensure!(ask()? == text && files()? == before);
        Ok(())
    })
    .await;
}

/// Asserts that `paddock config` fails with one line for each of these words, and a heading.
fn assert_errors(variables: &[(&str, &str)], words: &[&str]) -> Result<()> {
    let output = paddock(&["config"], variables)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
    ensure!(words.iter().all(|word| errors.lines().any(|line| line.contains(word))), "{errors}");
    ensure!(errors.lines().count() == words.len() + 1, "{errors}");
    Ok(())
}

#[tokio::test]
async fn all_malformed_settings_are_named_at_once() {
    story(async {
        let variables = [("PORT", "http"), ("DRAIN_TIMEOUT", "soon"), ("ENVIRONMENT", "x"), ("METRICS_ADDR", "x")];
        assert_errors(&variables, &["PORT", "DRAIN_TIMEOUT", "ENVIRONMENT", "METRICS_ADDR"])?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn all_inconsistent_settings_are_named_at_once() {
    story(async {
        let variables = [
            ("ENVIRONMENT", "prod"),
            ("DATABASE_URL", "mysql://db"),
            ("JWT_SECRET", "short"),
            ("JWT_ALG", "none"),
            ("OLLAMA_BASE_URL", "ollama:11434"),
            ("PUBLIC_URL", "https://user:password@paddock"),
            ("REDIS_URL", "redis:6379"),
            ("MODEL_REGISTRIES", "ftp://x"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
            ("LOG_LEVEL", "a=b=c"),
        ];
        let names: Vec<&str> = variables[1..].iter().map(|(name, _)| *name).chain(["AUDIT_SIGNING_KEY"]).collect();
        assert_errors(&variables, &names)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn valid_log_levels_are_accepted_and_a_wrong_one_is_named() {
    story(async {
        for level in ["off", "WARN", "info,sqlx=warn", " warn , sqlx=info ", "[request{user_id}]=debug"] {
            successful(paddock(&["config"], &[("LOG_LEVEL", level)])?).with_context(|| level.to_owned())?;
        }
        assert_refused(
            &paddock(&["config"], &[("LOG_LEVEL", "warning")])?,
            2,
            &["LOG_LEVEL `warning`", "info,sqlx=warn"],
        )?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_variable_is_not_checked_when_a_flag_takes_precedence() {
    story(async {
        successful(paddock(&["config", "--port", "8081"], &[("PORT", "http")])?)?;
        assert_refused(&paddock(&["config"], &[("PORT", "http")])?, 2, &["PORT `http`"])?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn no_format_shows_a_secret() {
    story(async {
        let variables = [
            ("AUDIT_SIGNING_KEY", STRONG_SECRET),
            ("JWT_SECRET", STRONG_SECRET),
            ("DB_HOST", "db1"),
            ("DB_PASSWORD", "hunter22"),
            ("REDIS_URL", "redis://:hunter22@redis:6379/3"),
        ];
        for format in ["table", "json", "yaml"] {
            let text = successful(paddock(&["config", "-o", format], &variables)?)?;
            ensure!(!text.contains(STRONG_SECRET) && !text.contains("hunter22"), "{text}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_invalid_redis_url_is_refused_without_its_password() {
    story(async {
        for url in [
            "redis",
            "http://:hunter22@redis",
            "redis://:hunter22@/0",
            "redis://:hunter22@redis/first",
            "redis://:hunter22@redis/-1",
            "redis://:hunter22@redis/0?protocol=resp3",
            "rediss://:hunter22@redis/0#insecure",
        ] {
            let output = paddock(&["config"], &[("REDIS_URL", url)])?;
            assert_refused(&output, 2, &["REDIS_URL", "redis://:password@redis:6379/0"])
                .with_context(|| url.to_owned())?;
            ensure!(!String::from_utf8_lossy(&output.stderr).contains("hunter22"), "{output:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn origins_are_shown_normalized() {
    story(async {
        let origins = [("CORS_ALLOWED_ORIGINS", "https://App.Example.com:443, http://app.example.com:3000")];
        let config = successful_json(paddock(&["config", "-o", "json"], &origins)?)?;
        let shown = &config["CORS_ALLOWED_ORIGINS"]["value"];
        ensure!(*shown == "https://app.example.com,http://app.example.com:3000", "{shown}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_password_in_a_setting_without_one_is_refused_and_not_repeated() {
    story(async {
        for (name, value) in [
            ("MODEL_REGISTRIES", "http://ada:hunter22@registry:5000"),
            ("MODEL_REGISTRIES", "registry.ollama.ai,http://ada:x,hunter22@registry:5000"),
            ("MODEL_REGISTRIES", "ada:hunter22"),
            ("CORS_ALLOWED_ORIGINS", "https://ada:hunter22@app.example.com"),
            ("CORS_ALLOWED_ORIGINS", "https://ada:hunter22@*.example.com"),
            ("OLLAMA_BASE_URL", "http://ada:hunter22@ollama:11434"),
            ("PUBLIC_URL", "https://ada:hunter22@paddock.example.com"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://ada:hunter22@collector:4318"),
        ] {
            let output = paddock(&["config"], &[(name, value)])?;
            assert_refused(&output, 2, &[name]).with_context(|| format!("{name}={value}"))?;
            ensure!(!String::from_utf8_lossy(&output.stderr).contains("hunter22"), "{output:?}");
        }
        Ok(())
    })
    .await;
}

/// The variables in a command's help, each with its fixed default.
fn variables(verb: &[&str]) -> Result<BTreeMap<String, Option<String>>> {
    let help = successful(paddock(&[verb, &["--help"]].concat(), &[])?)?;
    let mut variables = BTreeMap::new();
    for rest in help.split("[env: ").skip(1) {
        let (name, rest) = rest.split_once(['=', ']']).context("a name")?;
        let after = rest.trim_start_matches(']').trim_start();
        let default = after.strip_prefix("[default: ").and_then(|default| default.split_once(']'));
        variables.insert(name.to_owned(), default.map(|(default, _)| default.to_owned()));
    }
    Ok(variables)
}

/// The rows of the page about variables, by name.
fn rows(page: &str) -> Result<BTreeMap<String, String>> {
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` | ")) else { continue };
        if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            ensure!(rows.insert(name.to_owned(), rest.to_owned()).is_none(), "{name} has two rows");
        }
    }
    Ok(rows)
}

#[tokio::test]
async fn the_documentation_has_every_variable_and_its_default() {
    story(async {
        let mut known = BTreeMap::new();
        let verbs =
            ["config", "run", "api", "operator", "migrate", "seed", "usage", "healthcheck"].map(|verb| vec![verb]);
        for verb in verbs.into_iter().chain([vec!["user", "create"], vec!["audit", "verify"]]) {
            known.extend(variables(&verb)?);
        }
        ensure!(known.len() > 30, "{known:?}");
        let written = rows(&std::fs::read_to_string(repository().join("docs/configuration.md"))?)?;
        for (name, default) in &known {
            // A `_FILE` variable is in the row of the plain variable.
            let plain = name.strip_suffix("_FILE").filter(|plain| known.contains_key(*plain));
            let row =
                written.get(plain.unwrap_or(name)).with_context(|| format!("docs/configuration.md lacks {name}"))?;
            ensure!(plain.is_none() || row.contains(&format!("`{name}`")), "the row of {plain:?} lacks {name}");
            let default = default.as_ref().map_or_else(String::new, |default| format!("`{default}`"));
            ensure!(row.contains(&default), "the default of {name} is {default}, not {row}");
        }
        let surplus: Vec<_> = written.keys().filter(|name| !known.contains_key(*name)).collect();
        ensure!(surplus.is_empty(), "docs/configuration.md has unknown variables: {surplus:?}");
        Ok(())
    })
    .await;
}
