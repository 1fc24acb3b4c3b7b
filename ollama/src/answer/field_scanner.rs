//! Scanner for the few fields of an answer that the meter needs.
//!
//! It scans one JSON object byte by byte as the answer passes, and stores nothing but these fields.
//! It does not check the grammar, because the client receives Ollama's bytes unchanged in any case.
//! A field counts only at the depth where Ollama writes it, and never inside a string. Text that a
//! model generates can therefore not change the token counts.

use memchr::memchr2;

/// Maximum length of a key or number, in bytes. Ollama's are shorter.
const MAX_TOKEN_BYTES: usize = 24;
/// Maximum length of a stored error message, in bytes as written.
const MAX_ERROR_BYTES: usize = 1024;

/// Scans one JSON object.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the state of a byte-wise scanner")]
pub(super) struct FieldScanner {
    /// The fields found so far.
    pub(super) fields: FrameFields,
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    /// The next string is a key that is read.
    expects_key: bool,
    /// Depth 2 is inside `usage` or `error`.
    in_known_object: bool,
    outer_key: Key,
    inner_key: Key,
    capture: Capture,
    token: Token,
}

/// The fields of one frame, as far as it has arrived.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct FrameFields {
    /// A byte other than white space has arrived.
    pub(super) has_begun: bool,
    /// The outermost object has ended.
    pub(super) is_closed: bool,
    /// `done` is true.
    pub(super) is_done: bool,
    /// The content of `choices`.
    pub(super) choices: Choices,
    /// `usage` is an object.
    pub(super) has_usage: bool,
    /// `prompt_eval_count`, or `usage.prompt_tokens`.
    pub(super) prompt_tokens: Option<u64>,
    /// `eval_count`, or `usage.completion_tokens`.
    pub(super) completion_tokens: Option<u64>,
    /// `error`, or `error.message`: the bytes between the quotes, at most [`MAX_ERROR_BYTES`].
    pub(super) error: Option<Vec<u8>>,
}

/// The content of the `choices` of an OpenAI chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Choices {
    #[default]
    Absent,
    Empty,
    NonEmpty,
}

/// The keys that the scanner distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Key {
    #[default]
    Other,
    Done,
    PromptTokens,
    CompletionTokens,
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
            b"choices" => Self::Choices,
            b"usage" => Self::Usage,
            b"error" => Self::Error,
            b"message" => Self::Message,
            _ => Self::Other,
        }
    }
}

/// The target of the bytes being scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Capture {
    #[default]
    None,
    Key,
    Scalar,
    Error,
}

/// A key or number. A text longer than [`MAX_TOKEN_BYTES`] becomes empty.
#[derive(Debug, Clone, Copy, Default)]
struct Token {
    bytes: [u8; MAX_TOKEN_BYTES],
    length: usize,
}

impl Token {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        } else {
            self.length = MAX_TOKEN_BYTES + 1;
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl FieldScanner {
    /// Scans the next bytes of the object.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.is_escaped {
                self.is_escaped = false;
                self.store(&rest[..1]);
                rest = after;
            } else if self.in_string {
                let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                self.store(&rest[..plain]);
                rest = &rest[plain..];
                if let Some((&stop, after)) = rest.split_first() {
                    if stop == b'\\' {
                        self.is_escaped = true;
                        self.store(b"\\");
                    } else {
                        self.end_string();
                    }
                    rest = after;
                }
            } else if self.is_in_skipped_value() && !is_delimiter(byte) {
                let plain = after.iter().position(|&byte| is_delimiter(byte)).unwrap_or(after.len());
                rest = &after[plain..];
            } else {
                self.scan_byte(byte);
                rest = after;
            }
        }
    }

    /// Returns whether the current value has no field that is read. Its scalars can be skipped, for
    /// example the numbers of an embedding.
    fn is_in_skipped_value(&self) -> bool {
        self.depth > 2 || (self.depth == 2 && !self.in_known_object && self.outer_key != Key::Choices)
    }

    /// Ends the object, returns its fields, and resets the scanner for the next object.
    pub(super) fn take_fields(&mut self) -> FrameFields {
        std::mem::take(self).fields
    }

    /// Scans a byte outside a string.
    fn scan_byte(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            self.end_scalar();
            return;
        }
        self.fields.has_begun = true;
        if self.depth == 2 && self.outer_key == Key::Choices && byte != b']' {
            self.fields.choices = Choices::NonEmpty;
        }
        match byte {
            b'"' => self.begin_string(),
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            b',' => {
                self.end_scalar();
                self.expects_key = self.reads_keys();
            }
            b':' => self.expects_key = false,
            _ => self.scan_scalar(byte),
        }
    }

    /// Returns whether the keys of the innermost open object are read.
    fn reads_keys(&self) -> bool {
        self.depth == 1 || (self.depth == 2 && self.in_known_object)
    }

    fn open(&mut self, byte: u8) {
        self.depth = self.depth.saturating_add(1);
        if self.depth == 2 {
            self.in_known_object = byte == b'{' && matches!(self.outer_key, Key::Usage | Key::Error);
            self.fields.has_usage |= self.in_known_object && self.outer_key == Key::Usage;
            if byte == b'[' && self.outer_key == Key::Choices {
                self.fields.choices = Choices::Empty;
            }
        }
        self.expects_key = byte == b'{' && self.reads_keys();
    }

    fn close(&mut self) {
        self.end_scalar();
        self.depth = self.depth.saturating_sub(1);
        self.fields.is_closed |= self.depth == 0;
        self.in_known_object &= self.depth > 1;
        self.expects_key = false;
    }

    fn begin_string(&mut self) {
        self.in_string = true;
        let is_error_text = match self.depth {
            1 => self.outer_key == Key::Error,
            2 => self.in_known_object && self.outer_key == Key::Error && self.inner_key == Key::Message,
            _ => false,
        };
        if self.expects_key {
            self.token = Token::default();
            self.capture = Capture::Key;
        } else if is_error_text {
            self.fields.error = Some(Vec::new());
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

    fn scan_scalar(&mut self, byte: u8) {
        if self.capture != Capture::Scalar && self.reads_keys() && !self.expects_key {
            self.token = Token::default();
            self.capture = Capture::Scalar;
        }
        self.store(&[byte]);
    }

    fn store(&mut self, bytes: &[u8]) {
        match self.capture {
            Capture::None => {}
            Capture::Key | Capture::Scalar => self.token.push(bytes),
            Capture::Error => {
                let error = self.fields.error.get_or_insert_default();
                let room = MAX_ERROR_BYTES.saturating_sub(error.len()).min(bytes.len());
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
        let key = if self.depth == 1 { self.outer_key } else { self.inner_key };
        let fields = &mut self.fields;
        match key {
            Key::Done => fields.is_done |= self.depth == 1 && text == "true",
            Key::PromptTokens => fields.prompt_tokens = number.or(fields.prompt_tokens),
            Key::CompletionTokens => fields.completion_tokens = number.or(fields.completion_tokens),
            Key::Choices | Key::Usage | Key::Error | Key::Message | Key::Other => {}
        }
    }
}

/// Returns whether the byte begins or ends a string, array or object.
fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'"' | b'[' | b']' | b'{' | b'}')
}

impl FrameFields {
    /// Returns the error message, decoded.
    pub(super) fn error_text(&self) -> Option<String> {
        let raw = String::from_utf8_lossy(self.error.as_deref()?);
        let decoded = serde_json::from_str(&format!("\"{raw}\""));
        Some(decoded.unwrap_or_else(|_| raw.into_owned()))
    }
}
