//! Cursor over the text of one JSON document. It checks every byte against the JSON grammar and
//! builds no values.

use std::ops::Range;

use super::error::ScanError;

/// Maximum nesting depth of arrays and objects.
pub(crate) const MAX_DEPTH: usize = 128;

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `{...}`
    Object,
    /// `[...]`
    Array,
    /// `"..."`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool(bool),
    /// `null`
    Null,
}

pub(crate) struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

/// A string as written in the document, without its quotes.
pub(crate) struct RawString<'a> {
    pub(crate) text: &'a str,
    pub(crate) has_escapes: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// Returns the offset of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Skips white space, and returns the next byte without consuming it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.position) {
            self.position += 1;
        }
        bytes.get(self.position).copied()
    }

    /// Skips white space, and consumes the next byte if it is `byte`. Returns whether it was.
    pub(crate) fn consume(&mut self, byte: u8) -> bool {
        let is_found = self.peek() == Some(byte);
        self.position += usize::from(is_found);
        is_found
    }

    /// Skips white space, and consumes `byte`. Fails if the next byte is another.
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ScanError> {
        if self.consume(byte) { Ok(()) } else { Err(self.syntax_error(expected)) }
    }

    /// Returns the error for the current position.
    pub(crate) fn syntax_error(&self, expected: &'static str) -> ScanError {
        ScanError::InvalidJson { at: self.position, expected }
    }

    /// Consumes a string.
    pub(crate) fn string(&mut self) -> Result<RawString<'a>, ScanError> {
        self.expect(b'"', "a string")?;
        let bytes = self.text.as_bytes();
        let start = self.position;
        let mut has_escapes = false;
        loop {
            self.position += plain_prefix_len(&bytes[self.position..]);
            match bytes.get(self.position) {
                Some(b'"') => {
                    let text = &self.text[start..self.position];
                    self.position += 1;
                    return Ok(RawString { text, has_escapes });
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.skip_escape()?;
                }
                Some(_) => return Err(self.syntax_error("no control character in a string")),
                None => return Err(self.syntax_error("the end of a string")),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), ScanError> {
        let rest = &self.text.as_bytes()[self.position + 1..];
        let length = match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if rest.len() > 4 && rest[1..5].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(self.syntax_error("an escape that JSON has")),
        };
        self.position += length;
        Ok(())
    }

    /// Consumes a value of any kind, and returns its byte range and kind.
    ///
    /// Fails if arrays and objects in it are nested more than `max_depth` levels deep.
    pub(crate) fn skip_value(&mut self, max_depth: usize) -> Result<(Range<usize>, ValueKind), ScanError> {
        let first = self.peek();
        let start = self.position;
        let kind = match first {
            Some(b'{') => ValueKind::Object,
            Some(b'[') => ValueKind::Array,
            _ => {
                let kind = self.skip_scalar()?;
                return Ok((start..self.position, kind));
            }
        };
        self.skip_container(max_depth)?;
        Ok((start..self.position, kind))
    }

    /// Consumes an array or object with its content.
    ///
    /// `open` is a stack of the open containers with one bit for each: 1 is an object, 0 an array. It
    /// is as wide as [`MAX_DEPTH`].
    fn skip_container(&mut self, max_depth: usize) -> Result<(), ScanError> {
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            let opening = match self.peek() {
                Some(b'{') => Some((1, b'}')),
                Some(b'[') => Some((0, b']')),
                _ => None,
            };
            if let Some((bit, end)) = opening {
                if depth == max_depth.min(MAX_DEPTH) {
                    return Err(ScanError::TooDeep { at: self.position });
                }
                self.position += 1;
                open = open << 1 | bit;
                depth += 1;
                if !self.consume(end) {
                    self.skip_key(open)?;
                    continue;
                }
                open >>= 1;
                depth -= 1;
            } else {
                self.skip_scalar()?;
            }
            while depth > 0 && !self.consume(b',') {
                let end = if open & 1 == 1 { b'}' } else { b']' };
                self.expect(end, "a comma or the end of an array or object")?;
                open >>= 1;
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            self.skip_key(open)?;
        }
    }

    /// Consumes the next key and its colon if the innermost open container is an object.
    fn skip_key(&mut self, open: u128) -> Result<(), ScanError> {
        if open & 1 == 1 {
            self.string()?;
            self.expect(b':', "a colon")?;
        }
        Ok(())
    }

    fn skip_scalar(&mut self) -> Result<ValueKind, ScanError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ValueKind::String),
            Some(b't') => self.skip_literal("true", ValueKind::Bool(true)),
            Some(b'f') => self.skip_literal("false", ValueKind::Bool(false)),
            Some(b'n') => self.skip_literal("null", ValueKind::Null),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => Err(self.syntax_error("a value")),
        }
    }

    fn skip_literal(&mut self, word: &'static str, kind: ValueKind) -> Result<ValueKind, ScanError> {
        if !self.text.as_bytes()[self.position..].starts_with(word.as_bytes()) {
            return Err(self.syntax_error("a value"));
        }
        self.position += word.len();
        Ok(kind)
    }

    fn skip_number(&mut self) -> Result<ValueKind, ScanError> {
        self.position += usize::from(self.is_at(b'-'));
        if self.is_at(b'0') {
            self.position += 1;
        } else {
            self.skip_digits()?;
        }
        if self.is_at(b'.') {
            self.position += 1;
            self.skip_digits()?;
        }
        if self.is_at(b'e') || self.is_at(b'E') {
            self.position += 1;
            self.position += usize::from(self.is_at(b'+') || self.is_at(b'-'));
            self.skip_digits()?;
        }
        Ok(ValueKind::Number)
    }

    fn is_at(&self, byte: u8) -> bool {
        self.text.as_bytes().get(self.position) == Some(&byte)
    }

    fn skip_digits(&mut self) -> Result<(), ScanError> {
        let rest = &self.text.as_bytes()[self.position..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.syntax_error("a digit"));
        }
        self.position += count;
        Ok(())
    }
}

/// Returns the number of bytes before the next quote, backslash or control character.
///
/// It tests eight bytes at a time, because most of a large request is one long string.
fn plain_prefix_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // Sets the high bit of each byte below `limit`. Bits above the lowest set one may be wrong.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let plain = rest.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    words.len() * 8 + plain.count()
}
