//! Log lines on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    failure::Failure,
    settings::{CommonSettings, Environment, LogFormat},
};

/// Starts logging, for the life of the process.
pub(crate) fn init(settings: &CommonSettings, environment: Environment) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(|error| {
        Failure::config(format!("LOG_LEVEL `{}` is no filter ({error}); set it to info or debug", settings.log_level))
    })?;
    let people = environment == Environment::Local || std::io::stderr().is_terminal();
    let format = settings.log_format.unwrap_or(if people { LogFormat::Text } else { LogFormat::Json });
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(layer).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}
