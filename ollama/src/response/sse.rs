//! Parser for the server-sent events of the OpenAI and Anthropic dialects.

use memchr::memchr;

use super::field_scanner::{Choices, FieldScanner, FrameFields};

/// The only field of an event that the parser reads.
const DATA_FIELD: &[u8] = b"data:";
/// The data of the last event of a stream.
const DONE_MARKER: &[u8] = b"[DONE]";

/// Splits a stream into events, independent of its division into chunks.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    line: LineState,
    event: SseEvent,
}

/// The parser's position in the current line.
#[derive(Debug, Clone, Copy, Default)]
enum LineState {
    /// No byte of the line has arrived.
    #[default]
    Start,
    /// The line so far is this many bytes of [`DATA_FIELD`].
    FieldName(usize),
    /// After the field name, before its value.
    ValueStart,
    /// In a value that is a JSON object.
    Object,
    /// The value so far is this many bytes of [`DONE_MARKER`].
    DoneMarker(usize),
    /// In any other text.
    Other,
}

/// A complete event, or the part of it that has arrived.
#[derive(Debug, Default)]
pub(super) struct SseEvent {
    scanner: FieldScanner,
    has_begun: bool,
    object_count: u32,
    has_done_marker: bool,
    has_other_text: bool,
}

impl EventParser {
    /// Parses up to the end of an event, and returns the number of bytes parsed and the event.
    ///
    /// Returns `None` if it parsed all bytes and the event is unfinished.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<(usize, SseEvent)> {
        let mut position = 0;
        while let Some(length) = memchr(b'\n', &bytes[position..]) {
            self.feed_line_part(&bytes[position..position + length]);
            position += length + 1;
            if self.end_line() {
                return Some((position, std::mem::take(&mut self.event)));
            }
        }
        self.feed_line_part(&bytes[position..]);
        None
    }

    /// Returns the unfinished event.
    pub(super) fn current_event(&self) -> &SseEvent {
        &self.event
    }

    /// Ends the stream and its current line, and returns the unfinished event.
    pub(super) fn finish(mut self) -> SseEvent {
        self.end_line();
        self.event
    }

    /// Parses bytes of a line without its line feed.
    fn feed_line_part(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, after)) = bytes.split_first() {
            self.event.has_begun = true;
            self.line = match self.line {
                // A carriage return belongs to the line end.
                line if byte == b'\r' && !matches!(line, LineState::Object) => line,
                LineState::Start if byte == DATA_FIELD[0] => LineState::FieldName(1),
                LineState::FieldName(seen) if byte == DATA_FIELD[seen] && seen + 1 == DATA_FIELD.len() => {
                    LineState::ValueStart
                }
                LineState::FieldName(seen) if byte == DATA_FIELD[seen] => LineState::FieldName(seen + 1),
                LineState::ValueStart if byte == b' ' => LineState::ValueStart,
                LineState::ValueStart if byte == DONE_MARKER[0] => LineState::DoneMarker(1),
                LineState::DoneMarker(seen) if DONE_MARKER.get(seen) == Some(&byte) => LineState::DoneMarker(seen + 1),
                LineState::ValueStart if byte == b'{' => {
                    self.event.object_count += 1;
                    self.event.scanner.feed(bytes);
                    self.line = LineState::Object;
                    return;
                }
                LineState::Object => {
                    self.event.scanner.feed(bytes);
                    return;
                }
                _ => {
                    self.event.has_other_text = true;
                    self.line = LineState::Other;
                    return;
                }
            };
            bytes = after;
        }
    }

    /// Ends a line. Returns whether it was the blank line that ends an event.
    fn end_line(&mut self) -> bool {
        match std::mem::take(&mut self.line) {
            LineState::Start => return true,
            LineState::DoneMarker(seen) if seen == DONE_MARKER.len() => self.event.has_done_marker = true,
            LineState::DoneMarker(_) | LineState::FieldName(_) => self.event.has_other_text = true,
            LineState::ValueStart | LineState::Object | LineState::Other => {}
        }
        false
    }
}

impl SseEvent {
    /// Returns whether any byte of the event has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Returns whether the event is the terminal marker.
    pub(super) fn is_done(&self) -> bool {
        self.has_done_marker
    }

    /// Returns the fields of the event's JSON object.
    pub(super) fn fields(&self) -> &FrameFields {
        &self.scanner.fields
    }

    /// Returns whether the event is a usage chunk: one object with `usage` and without choices.
    pub(super) fn is_usage_chunk(&self) -> bool {
        let fields = self.fields();
        self.is_one_object() && fields.is_closed && fields.has_usage && fields.choices == Choices::Empty
    }

    /// Returns whether the event is a chunk of the response that also has a member `usage`.
    pub(super) fn is_chunk_with_usage(&self) -> bool {
        let fields = self.fields();
        self.is_one_object() && fields.is_closed && fields.has_usage_member && fields.choices == Choices::NonEmpty
    }

    /// Returns whether the part of the event that has arrived contains only one object of a
    /// response.
    pub(super) fn is_one_object(&self) -> bool {
        !self.has_other_text && !self.has_done_marker && self.object_count <= 1 && self.fields().error.is_none()
    }
}
