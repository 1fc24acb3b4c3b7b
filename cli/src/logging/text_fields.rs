//! The fields of text lines, without those that are only for traces.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FormatFields,
        format::{DefaultVisitor, Writer},
    },
};

use super::json_fields::TRACE_PREFIX;

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
mod tests {
    use tracing_subscriber::{fmt::layer, layer::SubscriberExt as _};

    use super::*;
    use crate::logging::test_buffer::{Buffer, log_in_a_request};

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
