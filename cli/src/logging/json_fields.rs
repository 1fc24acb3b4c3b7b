//! The fields of an event or a span as JSON members. They are formatted once, where they are recorded.

use std::{
    fmt::{self, Debug, Write as _},
    io::Write as _,
    ops::Range,
};

use tracing::field::{Field, Visit};

/// Prefix of fields that are only for traces.
pub(super) const TRACE_PREFIX: &str = "otel.";

/// Fields by name, each with its value as JSON text. Fields for traces are left out.
#[derive(Default)]
pub(super) struct JsonFields {
    text: Vec<u8>,
    /// The name of each field, and the place of its value in `text`.
    members: Vec<(&'static str, Range<usize>)>,
}

impl JsonFields {
    /// Removes every field, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.members.clear();
    }

    /// Whether there is a field of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| *member == name)
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find_map(|(member, value)| (member == name).then_some(value))
    }

    /// The fields in the order in which they were recorded.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.members.iter().map(|(name, value)| (*name, &self.text[value.clone()]))
    }

    /// Adds a field. Replaces an earlier one of this name.
    fn insert(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let name = match field.name() {
            // Names that each line has already.
            "timestamp" => "timestamp_",
            "level" => "level_",
            "module" => "module_",
            name if name.starts_with(TRACE_PREFIX) => return,
            name => name.trim_start_matches("r#"),
        };
        let start = self.text.len();
        write(&mut self.text);
        let value = start..self.text.len();
        match self.members.iter_mut().find(|(member, _)| *member == name) {
            Some((_, earlier)) => *earlier = value,
            None => self.members.push((name, value)),
        }
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, |text| {
            if value.is_finite() {
                display(text, value);
            } else {
                text.extend_from_slice(b"null");
            }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, |text| display(text, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, |text| display(text, value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.record_debug(field, &value),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.record_debug(field, &value),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, |text| display(text, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, |text| quote(text, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, |text| {
            text.push(b'"');
            // Writing to memory does not fail; a `Debug` that fails leaves its text incomplete.
            let _ = write!(Escaped(text), "{value:?}");
            text.push(b'"');
        });
    }
}

/// Appends a text as a JSON string.
pub(super) fn quote(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    let _ = Escaped(text).write_str(value);
    text.push(b'"');
}

fn display(text: &mut Vec<u8>, value: impl fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}

/// Appends text to a JSON string, and escapes what JSON requires.
struct Escaped<'t>(&'t mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(is_special) {
            self.0.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'"' => self.0.extend_from_slice(b"\\\""),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                control => write!(self.0, "\\u{control:04x}").map_err(|_| fmt::Error)?,
            }
            rest = &rest[at + 1..];
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_a_json_string() {
        let all: String = (0..0x250_u32).filter_map(char::from_u32).chain(['\u{2028}', '\u{1f600}']).collect();
        for value in [all.as_str(), "", "\"", "\\", "a\"b\\c\nd"] {
            let mut text = Vec::new();
            quote(&mut text, value);
            assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), value);
        }
    }
}
