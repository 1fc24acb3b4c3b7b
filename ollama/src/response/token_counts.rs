//! Token counts of a response, and the totals that the meter collects.

use super::{
    field_scanner::{Choices, EventType, FrameFields},
    sse::SseEvent,
};

/// The fields of Ollama's token counts that the meter reads, in all dialects.
pub const METERED_FIELDS: &[&str] = &[
    "prompt_eval_count",
    "eval_count",
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    // Since 0.34: the part of the prompt that came from the cache.
    "prompt_eval_cached_count",
    "prompt_tokens_details",
    "input_tokens_details",
    "cached_tokens",
    "cache_read_input_tokens",
];

/// The fields next to the token counts that the meter does not need: durations, sums, and parts of
/// the completion tokens.
pub const UNMETERED_FIELDS: &[&str] = &[
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "total_tokens",
    "output_tokens_details",
    "reasoning_tokens",
];

/// How many bytes of a response that is one object count as one token, if Ollama reports no counts.
/// English text has about four bytes per token.
const BYTES_PER_TOKEN: usize = 4;

/// The token counts of a response, as reported by Ollama.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt, including cached tokens.
    pub prompt_tokens: u64,
    /// Tokens of the prompt that Ollama read from its cache; `None` if Ollama does not report them,
    /// as before 0.34.
    pub cached_prompt_tokens: Option<u64>,
    /// Tokens of the response.
    pub completion_tokens: u64,
    /// Ollama reported no counts, because the response was truncated or has no counts.
    /// `completion_tokens` is then the number of frames of a stream, or follows from the size of an
    /// object, and `prompt_tokens` is 0.
    pub is_estimated: bool,
}

impl Usage {
    fn of(fields: &FrameFields) -> Self {
        let prompt_tokens = fields.prompt_tokens.unwrap_or(0).saturating_add(fields.cache_read_tokens.unwrap_or(0));
        Self {
            prompt_tokens,
            cached_prompt_tokens: fields.cached_tokens.or(fields.cache_read_tokens),
            completion_tokens: fields.completion_tokens.unwrap_or(0),
            is_estimated: false,
        }
    }

    fn is_zero(&self) -> bool {
        (self.prompt_tokens, self.completion_tokens, self.cached_prompt_tokens.unwrap_or(0)) == (0, 0, 0)
    }
}

/// The facts about a response that the meter has collected so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// The terminal marker has passed.
    pub(super) is_complete: bool,
    /// The error that the response reported.
    pub(super) error: Option<String>,
    reported: Option<Usage>,
    /// The estimate of the completion's tokens: the number of frames with a part of the response.
    estimate: u64,
}

impl Totals {
    /// Adds the only object of a response, or the last frame of a stream. With `requires_done`, the
    /// response is complete only if the object has `"done":true`.
    pub(super) fn add_object(&mut self, fields: &FrameFields, requires_done: bool) {
        if fields.error.is_some() {
            self.error = fields.error_text();
        } else if fields.is_closed && (fields.is_done || !requires_done) {
            self.is_complete = true;
            self.reported = Some(Usage::of(fields));
        }
    }

    /// Adds the only object of an embedding response. Without a count of prompt tokens, the
    /// response reports no usage.
    pub(super) fn add_embedding(&mut self, fields: &FrameFields) {
        self.add_object(fields, false);
        if fields.prompt_tokens.is_none() {
            self.reported = None;
        }
    }

    /// Adds the only object of a completion. Ollama ends a generation that repeats one token with an
    /// object whose counts are all 0, so such an object reports no usage.
    pub(super) fn add_completion(&mut self, fields: &FrameFields) {
        self.add_object(fields, false);
        self.reported = self.reported.filter(|usage| !usage.is_zero());
    }

    /// Estimates the completion's tokens from the size of a response that is one object. An error
    /// has no completion.
    pub(super) fn estimate_completion(&mut self, bytes: usize) {
        if self.error.is_none() {
            self.estimate = bytes.div_ceil(BYTES_PER_TOKEN) as u64;
        }
    }

    /// Adds a line of a native stream.
    pub(super) fn add_line(&mut self, fields: &FrameFields) {
        if fields.error.is_some() || fields.is_done {
            self.add_object(fields, true);
        } else if fields.is_closed {
            self.estimate += 1;
        }
    }

    /// Adds a server-sent event.
    pub(super) fn add_event(&mut self, event: &SseEvent) {
        let fields = event.fields();
        if event.is_done() {
            self.is_complete = true;
        } else if fields.error.is_some() {
            self.error = fields.error_text();
        } else if fields.is_closed {
            // Ollama adds an empty usage to each part of a completion. The counts come in a chunk
            // without choices.
            if fields.has_usage && fields.choices != Choices::NonEmpty {
                self.reported = Some(Usage::of(fields));
            }
            self.is_complete |= fields.event_type == EventType::Terminal;
            let is_part = fields.choices == Choices::NonEmpty || fields.event_type == EventType::Delta;
            self.estimate += u64::from(is_part);
        }
    }

    /// Returns the reported usage, or the estimate.
    pub(super) fn usage(&self) -> Usage {
        self.reported.unwrap_or(Usage {
            completion_tokens: self.estimate,
            is_estimated: self.estimate > 0 || self.error.is_none(),
            ..Usage::default()
        })
    }
}
