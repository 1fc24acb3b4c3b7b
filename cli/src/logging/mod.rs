//! Log lines on standard error, and traces where they are wanted.

mod lines;

use std::{io::IsTerminal as _, panic::PanicHookInfo};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config,
    failure::Failure,
    settings::{CommonSettings, Environment, LogFormat, MetricsSettings},
    traces,
};

/// Starts logging, for the life of the process.
pub(crate) fn init(settings: &CommonSettings, environment: Environment) -> Result<(), Failure> {
    start(settings, None, environment)
}

/// Starts logging and, where they are to go somewhere, traces.
pub(crate) fn init_with_traces(
    settings: &CommonSettings,
    traces: &MetricsSettings,
    environment: Environment,
) -> Result<(), Failure> {
    start(settings, config::traces_url(traces)?.as_ref(), environment)
}

/// What is logged.
pub(crate) fn filter(settings: &CommonSettings) -> Result<EnvFilter, Failure> {
    const RIGHT: &str = "set it to error, warn, info, debug, trace or off, or to a filter such as info,sqlx=warn";
    let parts: Vec<&str> = settings.log_level.split(',').map(str::trim).collect();
    // Alone, any other word would stand for a part of the code: everything of that is logged, and nothing of the rest.
    let is_word = |part: &str| !part.is_empty() && !part.contains(['=', '[']);
    if let Some(word) = parts.iter().find(|part| is_word(part) && part.parse::<LevelFilter>().is_err()) {
        return Err(Failure::config(format!("LOG_LEVEL `{word}` is not a level; {RIGHT}")));
    }
    EnvFilter::try_new(parts.join(","))
        .map_err(|error| Failure::config(format!("LOG_LEVEL `{}` is no filter ({error}); {RIGHT}", settings.log_level)))
}

/// How lines look: as set, or as suits the environment.
pub(crate) fn format(settings: &CommonSettings, environment: Environment) -> LogFormat {
    let people = environment == Environment::Local || std::io::stderr().is_terminal();
    settings.log_format.unwrap_or(if people { LogFormat::Text } else { LogFormat::Json })
}

fn start(settings: &CommonSettings, collector: Option<&url::Url>, environment: Environment) -> Result<(), Failure> {
    let filter = filter(settings)?;
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format(settings, environment) {
        LogFormat::Text => layer.fmt_fields(lines::TextFields).with_filter(filter).boxed(),
        LogFormat::Json => {
            let layer = layer.fmt_fields(fmt::format::JsonFields::new()).event_format(lines::Json::default());
            layer.with_filter(filter).boxed()
        }
    };
    let traces = collector.map(traces::layer).transpose()?;
    // Each layer has a filter of its own: a quiet log takes nothing from traces.
    tracing_subscriber::registry().with(lines).with(traces).init();
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

/// A panic is a line as any other, within the request that it ended.
fn panicked(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words");
    let place = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(panic = text, place, thread = thread.name(), backtrace, "panicked");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_panic_is_one_line_with_the_id_of_its_request() {
        let written = lines::tests::Written::default();
        let layer = fmt::layer().with_writer(written.clone()).fmt_fields(fmt::format::JsonFields::new());
        let subscriber = tracing_subscriber::registry().with(layer.event_format(lines::Json::default()));
        // Other tests of this process may panic meanwhile: those see another subscriber, and none.
        std::panic::set_hook(Box::new(panicked));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("request", request_id = "r-1", otel.kind = "server");
            let caught = span.in_scope(|| std::panic::catch_unwind(|| panic!("at {}", 7)));
            assert!(caught.is_err());
        });
        let _ = std::panic::take_hook();
        let line: Value = serde_json::from_str(written.text().trim_end()).unwrap();
        assert_eq!((&line["message"], &line["panic"]), (&"panicked".into(), &"at 7".into()));
        assert_eq!(line["request_id"], "r-1");
        assert!(line["place"].as_str().unwrap().contains("logging/mod.rs"), "{line}");
        assert!(line.get("otel.kind").is_none(), "{line}");
    }
}
