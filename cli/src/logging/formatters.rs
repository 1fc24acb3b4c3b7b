//! Formats of log lines. Each line repeats the fields of the spans around it.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{DefaultVisitor, JsonFields, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// Prefix of fields that are only for traces.
const TRACE_PREFIX: &str = "otel.";

/// One JSON object per line: `timestamp`, `level`, `message`, `module`, then the fields of the
/// event and of the spans around it.
#[derive(Default)]
pub(super) struct JsonLines {
    clock: SystemTime,
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        self.clock.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = JsonVisitor(Map::new());
        event.record(&mut fields);
        let JsonVisitor(mut fields) = fields;
        // The innermost span wins.
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(span_fields) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
            let Ok(Value::Object(span_fields)) = serde_json::from_str(&span_fields.fields) else { continue };
            for (name, value) in span_fields.into_iter().filter(|(name, _)| !name.starts_with(TRACE_PREFIX)) {
                fields.entry(name).or_insert(value);
            }
        }
        let metadata = event.metadata();
        let message = fields.remove("message").unwrap_or_default();
        // Named `module`, because events have a field `target` of their own.
        let leading = [
            ("timestamp", Value::from(timestamp)),
            ("level", Value::from(metadata.level().as_str())),
            ("message", message),
            ("module", Value::from(metadata.target())),
        ];
        writer.write_char('{')?;
        for (i, (name, value)) in leading
            .iter()
            .map(|(name, value)| (*name, value))
            .chain(fields.iter().map(|(n, v)| (n.as_str(), v)))
            .enumerate()
        {
            if i > 0 {
                writer.write_char(',')?;
            }
            write!(writer, "{}:{value}", Value::from(name))?;
        }
        writer.write_str("}\n")
    }
}

/// Collects the fields of an event as JSON.
struct JsonVisitor(Map<String, Value>);

impl JsonVisitor {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        let name = match field.name() {
            // Names that each line has already.
            "timestamp" | "level" | "module" => format!("{}_", field.name()),
            name => name.trim_start_matches("r#").to_owned(),
        };
        self.0.insert(name, value.into());
    }
}

impl Visit for JsonVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.insert(field, i64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.insert(field, u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

/// The fields of a text line, without the fields for traces.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = TextVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut text);
        text.0.finish()
    }
}

struct TextVisitor<'w>(DefaultVisitor<'w>);

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !field.name().starts_with(TRACE_PREFIX) {
            self.0.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.record_error(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !field.name().starts_with(TRACE_PREFIX) {
            self.0.record_debug(field, value);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{
        fmt::{MakeWriter, layer},
        layer::SubscriberExt as _,
    };

    use super::*;

    /// A writer that keeps what was written.
    #[derive(Clone, Default)]
    pub(in crate::logging) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        pub(in crate::logging) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn log_in_a_request() {
        let span = tracing::error_span!(
            "request",
            otel.kind = "server",
            otel.name = tracing::field::Empty,
            request_id = "r-1",
            user_id = tracing::field::Empty
        );
        span.record("user_id", 7);
        span.record("otel.name", "GET /x");
        span.in_scope(|| tracing::info!(target = "\"quoted\"\n", took = 5_u128, user_id = 8, "done"));
    }

    #[test]
    fn a_json_line_has_each_field_once() {
        let buffer = Buffer::default();
        let layer =
            layer().with_writer(buffer.clone()).fmt_fields(JsonFields::new()).event_format(JsonLines::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log_in_a_request);
        let text = buffer.text();
        let line: Map<String, Value> = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(text.matches("user_id").count(), 1);
        let expected = [
            ("level", "INFO".into()),
            ("message", "done".into()),
            ("request_id", "r-1".into()),
            ("target", "\"quoted\"\n".into()),
            ("took", 5.into()),
            ("user_id", Value::from(8)),
        ];
        for (name, value) in expected {
            assert_eq!(line[name], value, "{name}");
        }
        assert!(!text.contains("otel"), "{text}");
    }

    #[test]
    fn a_text_line_has_no_trace_fields() {
        let buffer = Buffer::default();
        let layer = layer().with_writer(buffer.clone()).with_ansi(false).fmt_fields(TextFields);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log_in_a_request);
        let text = buffer.text();
        assert!(text.contains("request_id=\"r-1\"") && text.contains("user_id=7"), "{text}");
        assert!(!text.contains("otel"), "{text}");
    }
}
