//! `paddock config`

use std::{collections::HashMap, time::Duration};

use clap::{ArgMatches, Args, CommandFactory as _, parser::ValueSource};
use paddock_store::{OpenOptions, db::Location};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::print;
use crate::{
    config::{self, SecretSource},
    error::Error,
    output::{Format, OutputSettings},
    server,
    settings::{DatabaseSettings, Environment, Settings},
};

/// Print the effective configuration with the source of each value, secrets redacted.
///
/// A source is a flag, the environment, a file, a default, or the settings that the value is
/// derived from. The command creates and changes nothing. If settings are invalid, it lists all of
/// them instead and exits with 2.
#[derive(Args)]
pub(crate) struct Config {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: OutputSettings,
}

/// The values and sources that the settings alone do not show, and all errors.
#[derive(Default)]
struct Effective {
    values: HashMap<&'static str, String>,
    sources: HashMap<&'static str, String>,
    errors: Vec<String>,
}

impl Effective {
    /// Returns the value, or records the error.
    fn check<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.errors.push(error.to_string())).ok()
    }

    fn value(&mut self, name: &'static str, value: Option<impl ToString>) {
        self.values.extend(value.map(|value| (name, value.to_string())));
    }
}

impl Config {
    pub(crate) fn execute(self, matches: Option<&ArgMatches>) -> Result<(), Error> {
        let effective = check_settings(&self.settings);
        if !effective.errors.is_empty() {
            return Err(Error::config_all(&effective.errors));
        }
        let rows = rows(matches, &effective);
        let text = match self.output.output {
            Format::Table => self.output.list(&rows, &["setting", "value", "source"])?,
            Format::Json | Format::Yaml => {
                let named = rows.iter().map(|row| {
                    let name = row["setting"].as_str().unwrap_or_default().to_owned();
                    (name, json!({"value": row["value"], "source": row["source"]}))
                });
                self.output.object(&Value::Object(named.collect()))?
            }
        };
        print(&text)
    }
}

/// Validates every setting, as a server does at its start. Logs the same warnings.
fn check_settings(settings: &Settings) -> Effective {
    let mut effective = Effective::default();
    let environment = effective.check(config::environment(&settings.common));
    let environment = environment.unwrap_or(Environment::Local);
    effective.value("ENVIRONMENT", Some(format!("{environment:?}").to_lowercase()));
    effective.check(crate::logging::init(&settings.common, environment));
    let format = crate::logging::format(&settings.common, environment);
    effective.value("LOG_FORMAT", Some(format!("{format:?}").to_lowercase()));
    let options = check_database(&settings.database, environment, &mut effective);
    let spool = effective.check(config::usage_spool_dir(&settings.serve, &options, environment));
    effective.value("USAGE_SPOOL_DIR", spool.map(|folder| folder.display().to_string()));
    let connections = effective.check(config::max_connections(&settings.serve, &settings.database, &options));
    effective.value("MAX_CONNECTIONS", connections);
    let origins = settings.serve.cors_allowed_origins.join(",");
    effective.value("CORS_ALLOWED_ORIGINS", (!origins.is_empty()).then_some(origins));
    let listen = &settings.serve.listen;
    let listen_addr = config::listen_addr(listen, environment);
    effective.value("LISTEN_ADDR", Some(listen_addr));
    if listen.port.is_some() {
        effective.sources.insert("LISTEN_ADDR", "with PORT".to_owned());
    }
    let redis = effective.check(config::redis_url(&settings.serve)).flatten();
    effective.value("REDIS_URL", redis.as_ref().map(redact));
    effective.value("METRICS_ADDR", Some(config::metrics_addr(&settings.metrics, environment)));
    let traces = effective.check(config::otlp_url(&settings.metrics)).flatten();
    effective.value("OTEL_EXPORTER_OTLP_ENDPOINT", traces);
    if effective.check(config::ollama_source(&settings.ollama, environment)).is_some() {
        let urls = config::ollama_urls(&settings.ollama, environment).unwrap_or_default();
        let urls: Vec<_> = urls.into_iter().map(String::from).collect();
        effective.value("OLLAMA_BASE_URL", Some(urls.join(",")));
    }
    if let Some(timeouts) = effective.check(config::timeouts(&settings.serve)) {
        effective.value("UPSTREAM_HEADERS_TIMEOUT", Some(duration(timeouts.headers)));
        effective.value("UPSTREAM_IDLE_TIMEOUT", Some(duration(timeouts.idle)));
        effective.value("UPSTREAM_TOTAL_TIMEOUT", Some(duration(timeouts.total)));
        effective.value("UPSTREAM_LIFETIME_TIMEOUT", Some(duration(timeouts.lifetime)));
    }
    let gateway = effective.check(config::gateway_url(&settings.ollama, listen_addr, environment)).flatten();
    effective.value("PUBLIC_URL", gateway);
    effective.check(server::model_registries(&settings.ollama));
    effective.check(config::seed(&settings.seed));
    effective
}

/// Returns a duration as settings write it, such as `10m`.
fn duration(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}

/// Validates the database settings and the signing secrets.
fn check_database(settings: &DatabaseSettings, environment: Environment, effective: &mut Effective) -> OpenOptions {
    effective.check(config::check_jwt_alg(&settings.jwt_alg));
    let options = effective.check(config::open_options(settings, environment));
    let file = options.as_ref().and_then(|options| effective.check(options.sqlite_file().map_err(Error::from)));
    // Without a valid database URL, the remaining settings are still validated.
    let options = match (&options, file) {
        (Some(options), Some(file)) => {
            let shown = match (&options.location, file) {
                (_, Some(file)) => format!("sqlite:{}", file.display()),
                (Location::Url(url), None) => redact(url),
                (Location::Postgres(parts), None) => {
                    effective.sources.insert("DATABASE_URL", "from DB_*".to_owned());
                    effective.value("DB_USER", Some(&parts.user));
                    effective.value("DB_HOST", Some(&parts.host));
                    effective.value("DB_NAME", Some(&parts.name));
                    effective.value("DB_PORT", Some(parts.port));
                    effective.value("DB_PASSWORD", Some("(set)"));
                    config::shown_parts(parts)
                }
            };
            effective.value("DATABASE_URL", Some(shown));
            options.clone()
        }
        _ => OpenOptions::new("sqlite:paddock.db".into()),
    };
    if let Some(Some(file)) = effective.check(config::audit_head_file(settings, environment, &options)) {
        effective.value("AUDIT_HEAD_FILE", Some(file.display()));
    }
    let keys = [
        ("AUDIT_SIGNING_KEY", &settings.audit_signing_key, &settings.audit_signing_key_file, config::AUDIT_KEY_SUFFIX),
        ("JWT_SECRET", &settings.jwt_secret, &settings.jwt_secret_file, config::JWT_SECRET_SUFFIX),
    ];
    for (name, value, file, suffix) in keys {
        let located =
            config::locate_signing_secret(name, value.as_ref(), file.as_deref(), suffix, &options, environment);
        if let Some(SecretSource::File(path)) = effective.check(located) {
            let state = if path.exists() { "(set)" } else { "(made at the first start)" };
            effective.value(name, Some(state));
            effective.sources.insert(name, format!("file {}", path.display()));
        }
    }
    options
}

/// One row for each setting: its name, value and source.
fn rows(matches: Option<&ArgMatches>, effective: &Effective) -> Vec<Value> {
    let command = crate::Cli::command();
    let arguments = command.find_subcommand("config").into_iter().flat_map(clap::Command::get_arguments);
    let given = |id: &str| {
        let values = matches.and_then(|matches| matches.get_raw(id))?;
        Some(values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(","))
    };
    let source = |id: &str| match matches.and_then(|matches| matches.value_source(id)) {
        Some(ValueSource::CommandLine) => "flag",
        Some(ValueSource::EnvVariable) => "environment",
        _ => "default",
    };
    let mut rows = Vec::new();
    for argument in arguments {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        let id = argument.get_id().as_str();
        let is_secret = argument.is_hide_env_values_set();
        let file = is_secret.then(|| given(&format!("{id}_file"))).flatten();
        let value = match (effective.values.get(name), given(id)) {
            (Some(value), _) => json!(value),
            (None, Some(_)) if is_secret => json!("(set)"),
            (None, Some(value)) => json!(value),
            (None, None) if file.is_some() => json!("(set)"),
            (None, None) => Value::Null,
        };
        let source = match (effective.sources.get(name), file) {
            (_, Some(file)) => format!("file {file}"),
            (Some(source), None) => source.clone(),
            (None, None) => source(id).to_owned(),
        };
        rows.push(json!({"setting": name, "value": value, "source": source}));
    }
    rows
}

/// The URL with its password replaced, in the authority and in the query.
fn redact(url: &SecretString) -> String {
    let Ok(mut url) = url::Url::parse(url.expose_secret()) else { return "(set)".to_owned() };
    if url.password().is_some() {
        // Fails only for a URL without a host, which has no password.
        let _ = url.set_password(Some("***"));
    }
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let shown = pairs.into_iter().map(|(name, value)| {
            let value = if name.contains("password") { "***".to_owned() } else { value };
            (name, value)
        });
        let shown: Vec<(String, String)> = shown.collect();
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_redacted() {
        for url in [
            "postgres://app:hunter22@db/app",
            "postgres://db/app?user=app&password=hunter22&sslmode=require",
            "redis://:hunter22@db/app",
        ] {
            let shown = redact(&url.into());
            assert!(!shown.contains("hunter22") && shown.contains("db/app"), "{shown}");
        }
    }
}
