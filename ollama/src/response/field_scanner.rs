//! Scanner for the few fields of a response that the meter needs.
//!
//! It scans one JSON object byte by byte as the response passes, and stores nothing but these
//! fields. It does not check the grammar, because the client receives Ollama's bytes unchanged in
//! any case. A field counts only at the depth where Ollama writes it, and never inside a string.
//! Text that a model generates can therefore not change the token counts.

use memchr::memchr2;

/// Maximum length of a key, number or event type, in bytes. Ollama's are shorter.
const MAX_TOKEN_BYTES: usize = 40;
/// Maximum length of a stored error message, in bytes as written.
const MAX_ERROR_BYTES: usize = 1024;

/// Maximum depth at which a field is read: `response.usage.input_tokens_details.cached_tokens`.
const MAX_KNOWN_DEPTH: usize = 4;

/// Scans one JSON object.
#[derive(Debug, Clone, Default)]
pub(super) struct FieldScanner {
    /// The fields found so far.
    pub(super) fields: FrameFields,
    depth: usize,
    /// The number of enclosing objects whose keys are read, from the outermost one.
    known_depth: usize,
    /// The current key of each of these objects.
    path: [Key; MAX_KNOWN_DEPTH],
    in_string: bool,
    is_escaped: bool,
    /// The next string is a key that is read.
    expects_key: bool,
    capture: Capture,
    token: Token,
}

/// The fields in the part of a frame that has arrived.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct FrameFields {
    /// A byte other than white space has arrived.
    pub(super) has_begun: bool,
    /// The outermost object has ended.
    pub(super) is_closed: bool,
    /// `done` is true.
    pub(super) is_done: bool,
    /// The kinds of `type` that the meter distinguishes.
    pub(super) event_type: EventType,
    /// The content of `choices`.
    pub(super) choices: Choices,
    /// There is a member `usage`, of any kind.
    pub(super) has_usage_member: bool,
    /// `usage` or `response.usage` is an object.
    pub(super) has_usage: bool,
    /// `prompt_eval_count`, or `prompt_tokens` or `input_tokens` of the usage.
    pub(super) prompt_tokens: Option<u64>,
    /// `eval_count`, or `completion_tokens` or `output_tokens` of the usage.
    pub(super) completion_tokens: Option<u64>,
    /// The prompt tokens that came from the cache, which `prompt_tokens` includes:
    /// `prompt_eval_cached_count`, or `cached_tokens` of the usage's details.
    pub(super) cached_tokens: Option<u64>,
    /// The same in Anthropic's usage, whose `input_tokens` do not include them:
    /// `cache_read_input_tokens`.
    pub(super) cache_read_tokens: Option<u64>,
    /// `error`, `error.message` or `response.error.message`: the bytes between the quotes, at most
    /// [`MAX_ERROR_BYTES`].
    pub(super) error: Option<Vec<u8>>,
}

/// The `type` of an event of Anthropic's API or OpenAI's responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum EventType {
    #[default]
    Other,
    /// A part of the response.
    Delta,
    /// The end of the response.
    Terminal,
}

impl EventType {
    fn of(text: &[u8]) -> Self {
        match text {
            b"message_stop" | b"response.completed" | b"response.incomplete" => Self::Terminal,
            b"content_block_delta" => Self::Delta,
            text if text.starts_with(b"response.") && text.ends_with(b".delta") => Self::Delta,
            _ => Self::Other,
        }
    }
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
    Type,
    PromptTokens,
    CompletionTokens,
    CachedTokens,
    CacheReadTokens,
    Details,
    Choices,
    Response,
    Usage,
    Error,
    Message,
}

impl Key {
    fn of(name: &[u8]) -> Self {
        match name {
            b"done" => Self::Done,
            b"type" => Self::Type,
            b"prompt_eval_count" | b"prompt_tokens" | b"input_tokens" => Self::PromptTokens,
            b"eval_count" | b"completion_tokens" | b"output_tokens" => Self::CompletionTokens,
            b"prompt_eval_cached_count" | b"cached_tokens" => Self::CachedTokens,
            b"cache_read_input_tokens" => Self::CacheReadTokens,
            b"prompt_tokens_details" | b"input_tokens_details" => Self::Details,
            b"choices" => Self::Choices,
            b"response" => Self::Response,
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
    EventType,
    Error,
}

/// A key or number. A text longer than [`MAX_TOKEN_BYTES`] becomes empty.
#[derive(Debug, Clone, Copy)]
struct Token {
    bytes: [u8; MAX_TOKEN_BYTES],
    length: usize,
}

impl Default for Token {
    fn default() -> Self {
        Self { bytes: [0; MAX_TOKEN_BYTES], length: 0 }
    }
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
        self.depth > self.known_depth && !self.is_in_choices()
    }

    /// Returns whether the scanner is directly inside the array `choices`.
    fn is_in_choices(&self) -> bool {
        self.depth == 2 && self.known_depth == 1 && self.path[0] == Key::Choices
    }

    /// Returns the keys that lead to the current value, if that is read.
    fn known_path(&self) -> &[Key] {
        if self.reads_keys() { &self.path[..self.known_depth] } else { &[] }
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
        if self.is_in_choices() && byte != b']' {
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
        self.depth == self.known_depth && self.depth > 0
    }

    fn open(&mut self, byte: u8) {
        let is_root = self.depth == 0;
        let is_known = match self.known_path() {
            [] => is_root,
            [Key::Usage | Key::Error | Key::Response]
            | [Key::Response, Key::Usage | Key::Error]
            | [Key::Usage, Key::Details]
            | [Key::Response, Key::Usage, Key::Details] => true,
            [Key::Choices] if byte == b'[' => {
                self.fields.choices = Choices::Empty;
                false
            }
            _ => false,
        };
        if is_known && byte == b'{' {
            self.fields.has_usage |= matches!(self.known_path(), [.., Key::Usage]);
            self.known_depth += 1;
            self.path[self.known_depth - 1] = Key::Other;
        }
        self.depth += 1;
        self.expects_key = byte == b'{' && self.reads_keys();
    }

    fn close(&mut self) {
        self.end_scalar();
        if self.reads_keys() {
            self.known_depth -= 1;
        }
        self.depth = self.depth.saturating_sub(1);
        self.fields.is_closed |= self.depth == 0;
        self.expects_key = false;
    }

    fn begin_string(&mut self) {
        self.in_string = true;
        if self.expects_key {
            self.token = Token::default();
            self.capture = Capture::Key;
            return;
        }
        match self.known_path() {
            [Key::Error] | [Key::Error, Key::Message] | [Key::Response, Key::Error, Key::Message] => {
                self.fields.error = Some(Vec::new());
                self.capture = Capture::Error;
            }
            [Key::Type] => {
                self.token = Token::default();
                self.capture = Capture::EventType;
            }
            _ => {}
        }
    }

    fn end_string(&mut self) {
        self.in_string = false;
        match self.capture {
            Capture::Key => {
                let key = Key::of(self.token.get());
                self.path[self.known_depth - 1] = key;
                self.fields.has_usage_member |= self.known_depth == 1 && key == Key::Usage;
            }
            Capture::EventType => self.fields.event_type = EventType::of(self.token.get()),
            Capture::None | Capture::Scalar | Capture::Error => {}
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
            Capture::Key | Capture::Scalar | Capture::EventType => self.token.push(bytes),
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
        let is_outermost = self.known_depth == 1;
        let key = self.known_path().last().copied().unwrap_or_default();
        let fields = &mut self.fields;
        let field = match key {
            Key::Done => {
                fields.is_done |= is_outermost && text == "true";
                return;
            }
            Key::PromptTokens => &mut fields.prompt_tokens,
            Key::CompletionTokens => &mut fields.completion_tokens,
            Key::CachedTokens => &mut fields.cached_tokens,
            Key::CacheReadTokens => &mut fields.cache_read_tokens,
            _ => return,
        };
        *field = number.or(*field);
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
