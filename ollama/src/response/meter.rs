//! The meter: parses the chunks of one response as they pass.

use bytes::Bytes;
use memchr::memchr;
use smallvec::smallvec;

use super::{
    field_scanner::FieldScanner,
    sse::EventParser,
    summary::{EndPosition, ResponseSummary},
    token_counts::Totals,
    usage_filter::{Chunks, UsageFilter},
};
use crate::{
    dialect::Dialect,
    endpoints::{Endpoint, Operation},
};

/// Meters one response. The memory of the meter stays within a bound, even if the response or a line
/// of it is very long.
#[derive(Debug)]
pub struct Meter {
    dialect: Dialect,
    format: Format,
    totals: Totals,
    /// Size of the response so far.
    bytes: usize,
    filter: Option<UsageFilter>,
}

/// The format of a response, with its parser.
#[derive(Debug)]
enum Format {
    /// One object.
    Object { scanner: Box<FieldScanner>, kind: ObjectKind },
    /// A stream with one object per line.
    Lines(Box<FieldScanner>),
    /// A stream of server-sent events.
    Events(Box<EventParser>),
}

/// The condition under which a response of one object is complete.
#[derive(Debug, Clone, Copy)]
enum ObjectKind {
    /// Its end, and `"done":true`.
    Done,
    /// Its end. Without a count of prompt tokens, it reports no usage.
    Embedding,
    /// Its end. Without a count of tokens above 0, it reports no usage.
    Any,
}

impl Meter {
    /// Creates a meter for a response of `endpoint`.
    ///
    /// `is_streaming` is the result of [`Endpoint::is_streaming`], and false for a response with an
    /// error status. `drop_usage` removes the usage chunk from an OpenAI stream: set it if the
    /// gateway requested the chunk and the client did not.
    #[must_use]
    pub fn new(endpoint: &Endpoint, is_streaming: bool, drop_usage: bool) -> Self {
        let dialect = endpoint.dialect;
        let format = match (is_streaming, dialect) {
            (true, Dialect::Ollama) => Format::Lines(Box::default()),
            (true, Dialect::OpenAi | Dialect::Anthropic) => Format::Events(Box::default()),
            (false, _) => {
                let kind = match endpoint.operation {
                    Operation::Chat | Operation::Generate if dialect == Dialect::Ollama => ObjectKind::Done,
                    Operation::Embed => ObjectKind::Embedding,
                    _ => ObjectKind::Any,
                };
                Format::Object { scanner: Box::default(), kind }
            }
        };
        Self { dialect, format, totals: Totals::default(), bytes: 0, filter: drop_usage.then(UsageFilter::default) }
    }

    /// Parses a chunk and returns the chunks to send to the client now. Copies no bytes.
    ///
    /// The result is the chunk itself, unless the usage chunk is to be removed. In that case the
    /// beginning of an event that may be the usage chunk is held back until the rest arrives. This
    /// does not delay the client, because it cannot use part of an event.
    pub fn feed(&mut self, chunk: Bytes) -> Chunks {
        self.bytes += chunk.len();
        match &mut self.format {
            Format::Object { scanner, .. } => scanner.feed(&chunk),
            Format::Lines(scanner) => {
                // JSON allows no raw line feed in a string, so every line feed ends an object.
                let mut rest: &[u8] = &chunk;
                while let Some(end) = memchr(b'\n', rest) {
                    scanner.feed(&rest[..end]);
                    self.totals.add_line(&scanner.take_fields());
                    rest = &rest[end + 1..];
                }
                scanner.feed(rest);
            }
            Format::Events(parser) => {
                if let Some(filter) = &mut self.filter {
                    return filter.feed(&chunk, parser, &mut self.totals);
                }
                let mut rest: &[u8] = &chunk;
                while let Some((length, event)) = parser.feed(rest) {
                    self.totals.add_event(&event);
                    rest = &rest[length..];
                }
            }
        }
        smallvec![chunk]
    }

    /// Ends the response and returns its summary. Drops any bytes still held back, which are the
    /// beginning of an event that never ended.
    #[must_use]
    pub fn finish(mut self) -> ResponseSummary {
        let end = match self.format {
            Format::Object { mut scanner, kind } => {
                let fields = scanner.take_fields();
                match kind {
                    ObjectKind::Done => self.totals.add_object(&fields, true),
                    ObjectKind::Embedding => self.totals.add_embedding(&fields),
                    ObjectKind::Any => self.totals.add_completion(&fields),
                }
                if !matches!(kind, ObjectKind::Embedding) {
                    self.totals.estimate_completion(self.bytes);
                }
                EndPosition::SingleObject
            }
            Format::Lines(mut scanner) => {
                let fields = scanner.take_fields();
                self.totals.add_line(&fields);
                if fields.has_begun { EndPosition::InsideFrame } else { EndPosition::BetweenFrames }
            }
            Format::Events(parser) => {
                let event = parser.finish();
                self.totals.add_event(&event);
                let is_held = self.filter.is_some_and(|filter| filter.has_held());
                if event.has_begun() && !is_held { EndPosition::InsideFrame } else { EndPosition::BetweenFrames }
            }
        };
        ResponseSummary {
            is_complete: self.totals.is_complete,
            usage: self.totals.usage(),
            error: self.totals.error,
            dialect: self.dialect,
            end,
        }
    }
}
