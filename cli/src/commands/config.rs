//! `paddock config`

use clap::{ArgMatches, Args, CommandFactory as _, parser::ValueSource};
use secrecy::ExposeSecret as _;

use super::print;
use crate::{
    config::{self, Database},
    failure::Failure,
    settings::Settings,
    table::Table,
};

/// Prints every setting with its effective value and where that comes from, secrets redacted. What is wrong is said first, with
/// exit code 2, as a server would.
#[derive(Args)]
pub(crate) struct Config {
    #[command(flatten)]
    settings: Settings,
}

impl Config {
    pub(crate) fn execute(self, matches: Option<&ArgMatches>) -> Result<(), Failure> {
        let environment = config::environment(&self.settings.common)?;
        let database = Database::resolve(&self.settings.database, environment)?;
        let file = database.options.sqlite_file()?;
        // What follows from other settings, where it was not given itself.
        let head_file = database.options.audit_head_file.as_ref();
        let derived = [
            ("AUDIT_HEAD_FILE", head_file.map_or_else(|| "-".to_owned(), |file| file.display().to_string())),
            ("ENVIRONMENT", format!("{environment:?}").to_lowercase()),
            ("DATABASE_URL", file.map_or_else(|| redacted(&database), |file| format!("sqlite:{}", file.display()))),
            ("JWT_SECRET", "(set)".to_owned()),
            ("AUDIT_SIGNING_KEY", "(set)".to_owned()),
            ("LISTEN_ADDR", config::listen_addr(&self.settings.serve.listen, environment).to_string()),
            ("METRICS_ADDR", config::metrics_addr(&self.settings.metrics, environment)?.to_string()),
            ("OLLAMA_BASE_URL", config::ollama_url(&self.settings.ollama, environment)?.to_string()),
        ];
        config::public_url(&self.settings.ollama)?;
        config::seed(&self.settings.seed)?;
        let mut table = Table::new(["setting", "value", "source"]);
        let command = crate::Cli::command();
        let arguments = command.find_subcommand("config").into_iter().flat_map(clap::Command::get_arguments);
        for argument in arguments {
            let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            let id = argument.get_id().as_str();
            let source = match matches.and_then(|matches| matches.value_source(id)) {
                Some(ValueSource::CommandLine) => "flag",
                Some(ValueSource::EnvVariable) => "environment",
                _ => "default",
            };
            let secret = argument.is_hide_env_values_set();
            let derived = derived.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone());
            let given = matches
                .and_then(|matches| matches.get_raw(id))
                .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(","));
            let value = match (derived, given) {
                (None, Some(_)) if secret => "(set)".to_owned(),
                (Some(value), _) | (None, Some(value)) => value,
                (None, None) => "-".to_owned(),
            };
            table.row([name, &value, source]);
        }
        print(&table.to_string())
    }
}

/// A database URL without its password.
fn redacted(database: &Database) -> String {
    match url::Url::parse(database.options.url.expose_secret()) {
        Ok(mut url) if url.password().is_some() => {
            // Fails only for a URL without a host, which has no password.
            let _ = url.set_password(Some("***"));
            url.to_string()
        }
        Ok(url) => url.to_string(),
        Err(_) => "(set)".to_owned(),
    }
}
