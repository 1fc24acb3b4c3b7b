//! JSON log lines: one object per line, with `timestamp`, `level`, `message` and `module`, then the
//! fields of the event and of the spans around it.

use std::{cell::Cell, io::Write as _};

use tracing::{Event, Subscriber, span};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

use super::json_fields::{JsonFields, quote};

/// Writes each event as a line.
pub(super) struct JsonLines<W>(W);

impl<W: for<'a> MakeWriter<'a> + 'static> JsonLines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }
}

/// The memory in which a thread formats its lines.
#[derive(Default)]
struct Scratch {
    fields: JsonFields,
    timestamp: String,
    line: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = JsonFields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<JsonFields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Taken, because formatting a field may log a line itself.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        format(event, &context, &mut scratch);
        // A line that cannot be written has no other place.
        let _ = self.0.make_writer_for(event.metadata()).write_all(&scratch.line);
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
}

fn format<S>(event: &Event<'_>, context: &Context<'_, S>, scratch: &mut Scratch)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Scratch { fields, timestamp, line } = scratch;
    fields.clear();
    timestamp.clear();
    line.clear();
    event.record(fields);
    let metadata = event.metadata();
    // Formatting a time into memory does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(timestamp));
    line.extend_from_slice(b"{\"timestamp\":\"");
    line.extend_from_slice(timestamp.as_bytes());
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(metadata.level().as_str().as_bytes());
    line.extend_from_slice(b"\",\"message\":");
    line.extend_from_slice(fields.get("message").unwrap_or(b"null"));
    // Named `module`, because events have a field `target` of their own.
    line.extend_from_slice(b",\"module\":");
    quote(line, metadata.target());
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        push_member(line, name, value);
    }
    // The innermost span wins.
    let mut inner: Vec<&'static str> = Vec::new();
    for span in context.event_scope(event).into_iter().flatten() {
        let extensions = span.extensions();
        let Some(of_span) = extensions.get::<JsonFields>() else { continue };
        let is_outermost = span.parent().is_none();
        for (name, value) in of_span.iter() {
            if fields.contains(name) || inner.contains(&name) {
                continue;
            }
            push_member(line, name, value);
            if !is_outermost {
                inner.push(name);
            }
        }
    }
    line.extend_from_slice(b"}\n");
}

fn push_member(line: &mut Vec<u8>, name: &str, value: &[u8]) {
    line.push(b',');
    quote(line, name);
    line.push(b':');
    line.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::logging::test_buffer::{Buffer, log_in_a_request};

    #[test]
    fn a_json_line_has_each_field_once() {
        let buffer = Buffer::default();
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(buffer.clone()));
        tracing::subscriber::with_default(subscriber, log_in_a_request);
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
    fn the_innermost_span_and_the_latest_value_win() {
        let buffer = Buffer::default();
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(buffer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("outer", a = 1, b = 1);
            let _outer = outer.enter();
            let inner = tracing::info_span!("inner", a = 2, c = 2);
            inner.record("c", 3);
            inner.in_scope(|| tracing::info!(half = 0.5, level = "x", "done"));
        });
        let line: Map<String, Value> = serde_json::from_str(buffer.text().trim_end()).unwrap();
        assert_eq!((&line["a"], &line["b"], &line["c"]), (&2.into(), &1.into(), &3.into()));
        assert_eq!((&line["half"], &line["level_"]), (&Value::from(0.5), &"x".into()));
        assert_eq!(buffer.text().matches("\"a\"").count(), 1);
    }
}
