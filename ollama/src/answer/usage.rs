//! Token counts of an answer, and the totals that the meter collects.

use super::{
    field_scanner::{Choices, FrameFields},
    sse::SseEvent,
};

/// The token counts of an answer, as reported by Ollama.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Ollama reported no counts, because the answer was truncated. `completion_tokens` is then the
    /// number of frames, and `prompt_tokens` is 0.
    pub is_estimated: bool,
}

impl Usage {
    fn of(fields: &FrameFields) -> Self {
        Self {
            prompt_tokens: fields.prompt_tokens.unwrap_or(0),
            completion_tokens: fields.completion_tokens.unwrap_or(0),
            is_estimated: false,
        }
    }
}

/// The facts about an answer that the meter has collected so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// The terminal marker has passed.
    pub(super) is_complete: bool,
    /// The error that the answer reported.
    pub(super) error: Option<String>,
    reported: Option<Usage>,
    /// Number of frames with a part of the answer.
    frames: u64,
}

impl Totals {
    /// Adds the only object of an answer, or the last frame of a stream.
    pub(super) fn add_object(&mut self, fields: &FrameFields, requires_done: bool) {
        if fields.error.is_some() {
            self.error = fields.error_text();
        } else if fields.is_closed && (fields.is_done || !requires_done) {
            self.is_complete = true;
            self.reported = Some(Usage::of(fields));
        }
    }

    /// Adds a line of a native stream.
    pub(super) fn add_line(&mut self, fields: &FrameFields) {
        if fields.error.is_some() || fields.is_done {
            self.add_object(fields, true);
        } else if fields.is_closed {
            self.frames += 1;
        }
    }

    /// Adds an event of an OpenAI stream.
    pub(super) fn add_event(&mut self, event: &SseEvent) {
        let fields = event.fields();
        if event.is_done() {
            self.is_complete = true;
        } else if fields.error.is_some() {
            self.error = fields.error_text();
        } else if fields.is_closed {
            if fields.has_usage {
                self.reported = Some(Usage::of(fields));
            }
            self.frames += u64::from(fields.choices == Choices::NonEmpty);
        }
    }

    /// Returns the reported usage, or an estimate from the number of frames.
    pub(super) fn usage(&self) -> Usage {
        self.reported.unwrap_or(Usage {
            prompt_tokens: 0,
            completion_tokens: self.frames,
            is_estimated: self.frames > 0 || self.error.is_none(),
        })
    }
}
