//! Log lines on standard error, and traces to a collector.

mod json_fields;
mod json_lines;
mod line_writer;
#[cfg(test)]
mod test_buffer;
mod text_fields;

use std::{
    io::{IsTerminal as _, Stderr},
    panic::PanicHookInfo,
    sync::LazyLock,
};

use clap::CommandFactory as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    config,
    env::{self, Remark},
    error::Error,
    otlp,
    settings::{CommonSettings, Environment, LogFormat, MetricsSettings},
};
use json_lines::JsonLines;
use line_writer::LineWriter;
use text_fields::TextFields;

/// The lines of this process.
static LINES: LazyLock<LineWriter<Stderr>> = LazyLock::new(|| LineWriter::new(std::io::stderr()));

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Installs logging for the life of the process, and logs what is remarkable about its variables.
pub(crate) fn init(settings: &CommonSettings, environment: Environment) -> Result<(), Error> {
    install(settings, None, environment)
}

/// Installs logging and, if a collector is configured, traces.
pub(crate) fn init_with_traces(
    settings: &CommonSettings,
    traces: &MetricsSettings,
    environment: Environment,
) -> Result<(), Error> {
    install(settings, config::otlp_url(traces)?.as_ref(), environment)
}

/// From now on, lines are written in batches. Call it in a process that handles signals.
pub(crate) fn start_buffering() {
    LINES.start_buffering();
}

/// Writes the lines that wait, and from now on each line at once. Call it before the process exits.
pub(crate) fn stop_buffering() {
    LINES.stop_buffering();
}

/// The filter of LOG_LEVEL.
enum LevelFilters {
    /// Levels of modules, which cost a request nothing.
    Levels(Box<Targets>),
    /// A filter that depends on spans, which each line and span is checked against.
    Spans(Box<EnvFilter>),
}

fn filter(settings: &CommonSettings) -> Result<LevelFilters, Error> {
    const EXPECTED: &str = "set it to error, warn, info, debug, trace or off, or to a filter such as info,sqlx=warn";
    let parts: Vec<&str> = settings.log_level.split(',').map(str::trim).collect();
    // `EnvFilter` takes any other word for a module, and would then log only that module.
    let is_bare = |part: &str| !part.is_empty() && !part.contains(['=', '[']);
    if let Some(word) = parts.iter().find(|part| is_bare(part) && part.parse::<LevelFilter>().is_err()) {
        return Err(Error::config(format!("LOG_LEVEL `{word}` is not a level; {EXPECTED}")));
    }
    if let Ok(levels) = parts.join(",").parse() {
        return Ok(LevelFilters::Levels(Box::new(levels)));
    }
    EnvFilter::try_new(parts.join(",")).map(|filter| LevelFilters::Spans(Box::new(filter))).map_err(|error| {
        Error::config(format!("LOG_LEVEL `{}` is not a filter ({error}); {EXPECTED}", settings.log_level))
    })
}

/// The format of log lines: as configured, or text in local and on a terminal.
pub(crate) fn format(settings: &CommonSettings, environment: Environment) -> LogFormat {
    let is_for_people = environment == Environment::Local || std::io::stderr().is_terminal();
    settings.log_format.unwrap_or(if is_for_people { LogFormat::Text } else { LogFormat::Json })
}

fn install(settings: &CommonSettings, collector: Option<&url::Url>, environment: Environment) -> Result<(), Error> {
    let filter = filter(settings)?;
    let lines: BoxedLayer<Registry> = match format(settings, environment) {
        LogFormat::Text => {
            let layer = fmt::layer().with_writer(&*LINES).with_ansi(std::io::stderr().is_terminal());
            layer.fmt_fields(TextFields).boxed()
        }
        LogFormat::Json => JsonLines::new(&*LINES).boxed(),
    };
    if let Some(collector) = collector {
        // Each layer has its own filter, so that LOG_LEVEL does not affect traces.
        let lines: BoxedLayer<Registry> = match filter {
            LevelFilters::Levels(levels) => lines.with_filter(*levels).boxed(),
            LevelFilters::Spans(filter) => lines.with_filter(*filter).boxed(),
        };
        tracing_subscriber::registry().with(lines).with(otlp::layer(collector)?).init();
        paddock_api::enable_traces();
    } else {
        let filter: BoxedLayer<_> = match filter {
            LevelFilters::Levels(levels) => levels.boxed(),
            LevelFilters::Spans(filter) => filter.boxed(),
        };
        tracing_subscriber::registry().with(lines).with(filter).init();
    }
    std::panic::set_hook(Box::new(log_panic));
    for remark in env::remarks(&crate::Cli::command()) {
        log_remark(&remark);
    }
    Ok(())
}

fn log_remark(remark: &Remark) {
    match remark {
        Remark::ServiceLink { variable } => {
            tracing::info!(variable, "passed over the variable of a Kubernetes Service");
        }
        Remark::NearMiss { variable, setting } => {
            tracing::warn!(variable, setting, "the variable is no setting, but its name is close to one");
        }
    }
}

/// Logs a panic as one line, with the fields of its request.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown panic payload");
    let location = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(panic = text, location, thread = thread.name(), backtrace, "panicked");
    // The process may not live until the next write.
    LINES.flush();
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_panic_is_one_line_with_its_request_id() {
        let buffer = test_buffer::Buffer::default();
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(buffer.clone()));
        // Panics of other tests in this process run without this subscriber.
        std::panic::set_hook(Box::new(log_panic));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("request", request_id = "r-1", otel.kind = "server");
            let caught = span.in_scope(|| std::panic::catch_unwind(|| panic!("at {}", 7)));
            assert!(caught.is_err());
        });
        let _ = std::panic::take_hook();
        let line: Value = serde_json::from_str(buffer.text().trim_end()).unwrap();
        assert_eq!((&line["message"], &line["panic"]), (&"panicked".into(), &"at 7".into()));
        assert_eq!(line["request_id"], "r-1");
        assert!(line["location"].as_str().unwrap().contains("logging/mod.rs"), "{line}");
        assert!(line.get("otel.kind").is_none(), "{line}");
    }
}
