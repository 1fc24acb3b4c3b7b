//! Reads the few facts a meter needs out of one JSON object, byte by byte as it passes, keeping nothing else of it.
//!
//! It does not check the grammar: what Ollama wrote goes to the client as it is. A key inside a string, or deeper than where
//! Ollama writes it, is never taken for one, so a model cannot talk itself into another bill.

use std::time::Duration;

use memchr::memchr2;

/// Longest key or number that is read; Ollama's are shorter.
const MAX_TOKEN: usize = 24;
/// Longest error message that is kept, in bytes as written.
const MAX_ERROR: usize = 1024;

/// What an object of an answer said, as far as it has come.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "where a reader of bytes stands")]
pub(crate) struct Frame {
    pub(crate) facts: Facts,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// At a depth whose keys are read: the next string is a key.
    key_next: bool,
    /// Depth 2 is the inside of `usage` or of `error`.
    inner: bool,
    outer_key: Key,
    inner_key: Key,
    capture: Capture,
    token: Token,
}

/// The facts.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Facts {
    /// Something other than white space has been seen.
    pub(crate) begun: bool,
    /// The outermost object has ended.
    pub(crate) closed: bool,
    /// `"done":true`.
    pub(crate) done: bool,
    /// What `choices` holds.
    pub(crate) choices: Choices,
    /// The object has a `usage` object.
    pub(crate) usage: bool,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) total_duration: Option<Duration>,
    pub(crate) load_duration: Option<Duration>,
    pub(crate) prompt_eval_duration: Option<Duration>,
    pub(crate) eval_duration: Option<Duration>,
    /// The text of `error`, or of `error.message`, as written between the quotes, cut where it is long.
    pub(crate) error: Option<Vec<u8>>,
}

/// What an OpenAI chunk's `choices` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Choices {
    #[default]
    Absent,
    Empty,
    Some,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Key {
    #[default]
    Other,
    Done,
    PromptTokens,
    CompletionTokens,
    TotalDuration,
    LoadDuration,
    PromptEvalDuration,
    EvalDuration,
    Choices,
    Usage,
    Error,
    Message,
}

impl Key {
    fn of(name: &[u8]) -> Self {
        match name {
            b"done" => Self::Done,
            b"prompt_eval_count" | b"prompt_tokens" => Self::PromptTokens,
            b"eval_count" | b"completion_tokens" => Self::CompletionTokens,
            b"total_duration" => Self::TotalDuration,
            b"load_duration" => Self::LoadDuration,
            b"prompt_eval_duration" => Self::PromptEvalDuration,
            b"eval_duration" => Self::EvalDuration,
            b"choices" => Self::Choices,
            b"usage" => Self::Usage,
            b"error" => Self::Error,
            b"message" => Self::Message,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Capture {
    #[default]
    None,
    Key,
    Scalar,
    Error,
}

/// A short text; one that is too long is none.
#[derive(Debug, Clone, Copy, Default)]
struct Token {
    bytes: [u8; MAX_TOKEN],
    length: usize,
}

impl Token {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        } else {
            self.length = MAX_TOKEN + 1;
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Frame {
    /// Takes the next bytes of the object. A string's inside never has a raw line break, so lines end objects.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.escaped {
                self.escaped = false;
                self.keep(&rest[..1]);
                rest = after;
            } else if self.in_string {
                let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                self.keep(&rest[..plain]);
                rest = &rest[plain..];
                if let Some((&stop, after)) = rest.split_first() {
                    if stop == b'\\' {
                        self.escaped = true;
                        self.keep(b"\\");
                    } else {
                        self.end_string();
                    }
                    rest = after;
                }
            } else if self.facts_end_here() && !is_structure(byte) {
                let plain = after.iter().position(|&byte| is_structure(byte)).unwrap_or(after.len());
                rest = &after[plain..];
            } else {
                self.structure(byte);
                rest = after;
            }
        }
    }

    /// Whether nothing at this depth is read: what does not lead out of it can be passed over, such as an embedding.
    fn facts_end_here(&self) -> bool {
        self.depth > 2 || (self.depth == 2 && !self.inner && self.outer_key != Key::Choices)
    }

    /// Ends the object, and stands before the next one.
    pub(crate) fn take(&mut self) -> Facts {
        std::mem::take(self).facts
    }

    fn structure(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            self.end_scalar();
            return;
        }
        self.facts.begun = true;
        if self.depth == 2 && self.outer_key == Key::Choices && byte != b']' {
            self.facts.choices = Choices::Some;
        }
        match byte {
            b'"' => self.begin_string(),
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            b',' => {
                self.end_scalar();
                self.key_next = self.reads_keys();
            }
            b':' => self.key_next = false,
            _ => self.scalar(byte),
        }
    }

    /// Whether the keys of the innermost open object are read.
    fn reads_keys(&self) -> bool {
        self.depth == 1 || (self.depth == 2 && self.inner)
    }

    fn open(&mut self, byte: u8) {
        self.depth = self.depth.saturating_add(1);
        if self.depth == 2 {
            self.inner = byte == b'{' && matches!(self.outer_key, Key::Usage | Key::Error);
            self.facts.usage |= self.inner && self.outer_key == Key::Usage;
            if byte == b'[' && self.outer_key == Key::Choices {
                self.facts.choices = Choices::Empty;
            }
        }
        self.key_next = byte == b'{' && self.reads_keys();
    }

    fn close(&mut self) {
        self.end_scalar();
        self.depth = self.depth.saturating_sub(1);
        self.facts.closed |= self.depth == 0;
        self.inner &= self.depth > 1;
        self.key_next = false;
    }

    fn begin_string(&mut self) {
        self.in_string = true;
        let text_of_error = match self.depth {
            1 => self.outer_key == Key::Error,
            2 => self.inner && self.outer_key == Key::Error && self.inner_key == Key::Message,
            _ => false,
        };
        if self.key_next {
            self.token = Token::default();
            self.capture = Capture::Key;
        } else if text_of_error {
            self.facts.error = Some(Vec::new());
            self.capture = Capture::Error;
        }
    }

    fn end_string(&mut self) {
        self.in_string = false;
        if self.capture == Capture::Key {
            let key = Key::of(self.token.get());
            if self.depth == 1 {
                self.outer_key = key;
                self.inner_key = Key::Other;
            } else {
                self.inner_key = key;
            }
        }
        self.capture = Capture::None;
    }

    fn scalar(&mut self, byte: u8) {
        if self.capture != Capture::Scalar && self.reads_keys() && !self.key_next {
            self.token = Token::default();
            self.capture = Capture::Scalar;
        }
        self.keep(&[byte]);
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.capture {
            Capture::None => {}
            Capture::Key | Capture::Scalar => self.token.push(bytes),
            Capture::Error => {
                let error = self.facts.error.get_or_insert_default();
                let room = MAX_ERROR.saturating_sub(error.len()).min(bytes.len());
                error.extend_from_slice(&bytes[..room]);
            }
        }
    }

    fn end_scalar(&mut self) {
        if self.capture != Capture::Scalar {
            return;
        }
        self.capture = Capture::None;
        let text = str::from_utf8(self.token.get()).unwrap_or_default();
        let number = text.parse::<u64>().ok();
        let duration = number.map(Duration::from_nanos);
        let key = if self.depth == 1 { self.outer_key } else { self.inner_key };
        let facts = &mut self.facts;
        match key {
            Key::Done => facts.done |= self.depth == 1 && text == "true",
            Key::PromptTokens => facts.prompt_tokens = number.or(facts.prompt_tokens),
            Key::CompletionTokens => facts.completion_tokens = number.or(facts.completion_tokens),
            Key::TotalDuration => facts.total_duration = duration,
            Key::LoadDuration => facts.load_duration = duration,
            Key::PromptEvalDuration => facts.prompt_eval_duration = duration,
            Key::EvalDuration => facts.eval_duration = duration,
            Key::Choices | Key::Usage | Key::Error | Key::Message | Key::Other => {}
        }
    }
}

fn is_structure(byte: u8) -> bool {
    matches!(byte, b'"' | b'[' | b']' | b'{' | b'}')
}

impl Facts {
    /// The error's text, decoded.
    pub(crate) fn error_text(&self) -> Option<String> {
        let raw = String::from_utf8_lossy(self.error.as_deref()?);
        let decoded = serde_json::from_str(&format!("\"{raw}\""));
        Some(decoded.unwrap_or_else(|_| raw.into_owned()))
    }
}
