//! The meter of an answer: it watches the bytes pass, knows whether the answer came to its end and what it cost, and takes
//! out the one event that the client did not ask for.
//!
//! Ollama answers 200 and ends the body in order even when its engine dies halfway, so only the terminal marker tells a
//! complete answer: `"done":true` in the native API, `[DONE]` in an OpenAI stream, the closed object elsewhere.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use memchr::memchr;
use smallvec::{SmallVec, smallvec};

use crate::dialect::Dialect;
use crate::endpoints::{Endpoint, Operation};
use crate::frame::{Choices, Facts, Frame};
use crate::sse::{Event, Sse};

/// What to send on for one chunk that came: mostly that chunk itself.
pub type Pieces = SmallVec<[Bytes; 2]>;

/// The most bytes of an unfinished event that are held back. A usage chunk has some 300.
const MAX_HELD: usize = 16 * 1024;

/// What an answer cost, as Ollama counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Ollama did not tell its counts, because the answer was cut: the answer's tokens are the frames that came, the
    /// prompt's are 0.
    pub estimated: bool,
    /// Ollama's own time for the whole request; only the native API tells this and the others.
    pub total_duration: Option<Duration>,
    /// Time to load the model.
    pub load_duration: Option<Duration>,
    /// Time to read the prompt.
    pub prompt_eval_duration: Option<Duration>,
    /// Time to write the answer.
    pub eval_duration: Option<Duration>,
}

impl Usage {
    fn of(facts: &Facts) -> Self {
        Self {
            prompt_tokens: facts.prompt_tokens.unwrap_or(0),
            completion_tokens: facts.completion_tokens.unwrap_or(0),
            estimated: false,
            total_duration: facts.total_duration,
            load_duration: facts.load_duration,
            prompt_eval_duration: facts.prompt_eval_duration,
            eval_duration: facts.eval_duration,
        }
    }
}

/// Watches one answer. Its memory is bounded, whatever the length of the answer and of its lines.
#[derive(Debug)]
pub struct Meter {
    dialect: Dialect,
    format: Format,
    tally: Tally,
    filter: Option<UsageFilter>,
}

#[derive(Debug)]
enum Format {
    /// One object; whether it must say `"done":true`.
    Object { frame: Box<Frame>, says_done: bool },
    /// An object a line.
    Lines(Box<Frame>),
    /// Server-sent events.
    Events(Box<Sse>),
}

/// What has been learnt so far.
#[derive(Debug, Default)]
struct Tally {
    complete: bool,
    error: Option<String>,
    usage: Option<Usage>,
    frames: u64,
}

/// The beginning of an event that waits for its end, because it may have to be dropped.
#[derive(Debug, Default)]
struct UsageFilter {
    held: Pieces,
    held_bytes: usize,
    /// Part of the present event has been sent on, so all of it must be.
    released: bool,
}

/// What is known when an answer has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer came to its own end. Otherwise it was cut, or told of an error.
    pub complete: bool,
    /// The error that the answer itself told of, in Ollama's words.
    pub error: Option<String>,
    /// What it cost.
    pub usage: Usage,
    dialect: Dialect,
    ending: Ending,
}

/// How an answer stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is no stream: nothing can be added.
    Whole,
    /// A stream, between two frames.
    Between,
    /// A stream, within a frame.
    Within,
}

impl Meter {
    /// A meter for the answer of an endpoint. `streams` is what [`Endpoint::streams`] says, and false for an answer whose
    /// status is an error. `drop_usage`: take the usage chunk out of an OpenAI stream, because it was asked for in the
    /// client's stead.
    #[must_use]
    pub fn new(endpoint: &Endpoint, streams: bool, drop_usage: bool) -> Self {
        let dialect = endpoint.dialect;
        let format = match (streams, dialect) {
            (true, Dialect::Ollama) => Format::Lines(Box::default()),
            (true, Dialect::OpenAi | Dialect::Anthropic) => Format::Events(Box::default()),
            (false, _) => {
                let writes = matches!(endpoint.operation, Operation::Chat | Operation::Generate);
                Format::Object { frame: Box::default(), says_done: writes && dialect == Dialect::Ollama }
            }
        };
        Self { dialect, format, tally: Tally::default(), filter: drop_usage.then(UsageFilter::default) }
    }

    /// Whether the terminal marker has passed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tally.complete
    }

    /// How many frames with a part of the answer have passed.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.tally.frames
    }

    /// Takes a chunk and returns what to send on now, in order, without a copy.
    ///
    /// That is the chunk itself, except where the usage chunk is to be dropped: then the beginning of an event that could
    /// still turn out to be it waits for the rest. A client cannot use a part of an event either.
    pub fn feed(&mut self, chunk: Bytes) -> Pieces {
        match &mut self.format {
            Format::Object { frame, .. } => frame.feed(&chunk),
            Format::Lines(frame) => {
                let mut rest: &[u8] = &chunk;
                while let Some(end) = memchr(b'\n', rest) {
                    frame.feed(&rest[..end]);
                    self.tally.line(&frame.take());
                    rest = &rest[end + 1..];
                }
                frame.feed(rest);
            }
            Format::Events(sse) => {
                if let Some(filter) = &mut self.filter {
                    return filter.feed(&chunk, sse, &mut self.tally);
                }
                let mut rest: &[u8] = &chunk;
                while let Some((end, event)) = sse.feed(rest) {
                    self.tally.event(&event);
                    rest = &rest[end..];
                }
            }
        }
        smallvec![chunk]
    }

    /// Ends the answer. What is still held back is the beginning of an event that never ended, and is dropped.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        let ending = match self.format {
            Format::Object { mut frame, says_done } => {
                self.tally.object(&frame.take(), says_done);
                Ending::Whole
            }
            Format::Lines(mut frame) => {
                let facts = frame.take();
                self.tally.line(&facts);
                if facts.begun { Ending::Within } else { Ending::Between }
            }
            Format::Events(sse) => {
                let event = sse.finish();
                self.tally.event(&event);
                let waits = self.filter.is_some_and(|filter| !filter.held.is_empty());
                if event.begun() && !waits { Ending::Within } else { Ending::Between }
            }
        };
        let tally = self.tally;
        let estimate = Usage {
            completion_tokens: tally.frames,
            estimated: tally.frames > 0 || tally.error.is_none(),
            ..Usage::default()
        };
        Outcome {
            complete: tally.complete,
            error: tally.error,
            usage: tally.usage.unwrap_or(estimate),
            dialect: self.dialect,
            ending,
        }
    }
}

impl Tally {
    fn object(&mut self, facts: &Facts, says_done: bool) {
        if facts.error.is_some() {
            self.error = facts.error_text();
        } else if facts.closed && (facts.done || !says_done) {
            self.complete = true;
            self.usage = Some(Usage::of(facts));
        }
    }

    fn line(&mut self, facts: &Facts) {
        if facts.error.is_some() || facts.done {
            self.object(facts, true);
        } else if facts.closed {
            self.frames += 1;
        }
    }

    fn event(&mut self, event: &Event) {
        let facts = event.facts();
        if event.is_done() {
            self.complete = true;
        } else if facts.error.is_some() {
            self.error = facts.error_text();
        } else if facts.closed {
            if facts.usage {
                self.usage = Some(Usage::of(facts));
            }
            self.frames += u64::from(facts.choices == Choices::Some);
        }
    }
}

impl UsageFilter {
    fn feed(&mut self, chunk: &Bytes, sse: &mut Sse, tally: &mut Tally) -> Pieces {
        let mut pieces = Pieces::new();
        // Up to `sent` the chunk is dealt with; at `start` begins the present event, or goes on from an earlier chunk.
        let (mut sent, mut start) = (0, 0);
        while let Some((length, event)) = sse.feed(&chunk[start..]) {
            tally.event(&event);
            let end = start + length;
            if event.is_usage() && !self.released {
                self.forget();
                push(&mut pieces, chunk.slice(sent..start));
                sent = end;
            } else {
                self.release(&mut pieces);
            }
            self.released = false;
            start = end;
        }
        let open = sse.event();
        let length = self.held_bytes + chunk.len() - start;
        if open.begun() && open.may_be_usage() && !self.released && length <= MAX_HELD {
            push(&mut pieces, chunk.slice(sent..start));
            self.held_bytes = length;
            push(&mut self.held, chunk.slice(start..));
        } else {
            self.release(&mut pieces);
            self.released = open.begun();
            push(&mut pieces, chunk.slice(sent..));
        }
        pieces
    }

    fn release(&mut self, pieces: &mut Pieces) {
        pieces.append(&mut self.held);
        self.held_bytes = 0;
    }

    fn forget(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }
}

fn push(pieces: &mut Pieces, piece: Bytes) {
    if !piece.is_empty() {
        pieces.push(piece);
    }
}

impl Outcome {
    /// The event to append to a stream that was cut, so that the client does not take it for whole. `None` if there is
    /// nothing to tell (the answer is complete, or has told of its error itself) or no way to (it is no stream: break the
    /// connection instead).
    #[must_use]
    pub fn error_event(&self, status: StatusCode, message: &str, code: Option<&str>) -> Option<Bytes> {
        if self.complete || self.error.is_some() || self.ending == Ending::Whole {
            return None;
        }
        let event = self.dialect.stream_error(status, message, code);
        if self.ending == Ending::Between {
            return Some(event);
        }
        // The frame that was cut must be ended first, or the event would be read as its rest.
        let end: &[u8] = if self.dialect == Dialect::Ollama { b"\n" } else { b"\n\n" };
        Some([end, &event].concat().into())
    }
}

#[cfg(test)]
mod tests;
