//! Server-sent events as an OpenAI stream writes them: where each one ends, and what it says.

use memchr::memchr;

use crate::frame::{Choices, Facts, Frame};

/// What opens the only kind of line that is read.
const FIELD: &[u8] = b"data:";
/// The end of an OpenAI stream.
const DONE: &[u8] = b"[DONE]";

/// Splits a stream into events, wherever its chunks are cut.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    line: Line,
    event: Event,
}

/// Where in a line the stream stands.
#[derive(Debug, Clone, Copy, Default)]
enum Line {
    /// Nothing of the line has come.
    #[default]
    Start,
    /// So many bytes of the field's name have come, and no other.
    Field(usize),
    /// After `data:`, before its text.
    Value,
    /// In an object.
    Object,
    /// So many bytes of the terminal marker have come, and no other.
    Marker(usize),
    /// In something else.
    Other,
}

/// An event, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Event {
    frame: Frame,
    begun: bool,
    objects: u32,
    marker: bool,
    other: bool,
}

impl Sse {
    /// Takes bytes up to the end of an event, and returns how many they were and the event; `None` when all were taken and
    /// the event goes on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<(usize, Event)> {
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &bytes[at..]) {
            self.inside_line(&bytes[at..at + length]);
            at += length + 1;
            if self.end_line() {
                return Some((at, std::mem::take(&mut self.event)));
            }
        }
        self.inside_line(&bytes[at..]);
        None
    }

    /// The event that has begun and not ended.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Ends the stream, and with it the line it stands in.
    pub(crate) fn finish(mut self) -> Event {
        self.end_line();
        self.event
    }

    fn inside_line(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, after)) = bytes.split_first() {
            self.event.begun = true;
            self.line = match self.line {
                // A carriage return belongs to the line's end.
                line if byte == b'\r' && !matches!(line, Line::Object) => line,
                Line::Start if byte == FIELD[0] => Line::Field(1),
                Line::Field(seen) if byte == FIELD[seen] && seen + 1 == FIELD.len() => Line::Value,
                Line::Field(seen) if byte == FIELD[seen] => Line::Field(seen + 1),
                Line::Value if byte == b' ' => Line::Value,
                Line::Value if byte == DONE[0] => Line::Marker(1),
                Line::Marker(seen) if DONE.get(seen) == Some(&byte) => Line::Marker(seen + 1),
                Line::Value if byte == b'{' => {
                    self.event.objects += 1;
                    self.event.frame.feed(bytes);
                    self.line = Line::Object;
                    return;
                }
                Line::Object => {
                    self.event.frame.feed(bytes);
                    return;
                }
                _ => {
                    self.event.other = true;
                    self.line = Line::Other;
                    return;
                }
            };
            bytes = after;
        }
    }

    /// Ends a line; true if it was the blank one that ends an event.
    fn end_line(&mut self) -> bool {
        match std::mem::take(&mut self.line) {
            Line::Start => return true,
            Line::Marker(seen) if seen == DONE.len() => self.event.marker = true,
            Line::Marker(_) | Line::Field(_) => self.event.other = true,
            Line::Value | Line::Object | Line::Other => {}
        }
        false
    }
}

impl Event {
    /// Whether any byte of it has come.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// Whether it is the terminal marker.
    pub(crate) fn is_done(&self) -> bool {
        self.marker
    }

    /// What its object says.
    pub(crate) fn facts(&self) -> &Facts {
        &self.frame.facts
    }

    /// Whether it is the chunk that has usage and nothing else.
    pub(crate) fn is_usage(&self) -> bool {
        let facts = self.facts();
        self.may_be_usage() && facts.closed && facts.usage && facts.choices == Choices::Empty
    }

    /// Whether it could still turn out to be that chunk.
    pub(crate) fn may_be_usage(&self) -> bool {
        let facts = self.facts();
        !self.other && !self.marker && self.objects <= 1 && facts.choices != Choices::Some && facts.error.is_none()
    }
}
