//! A cursor over the text of one JSON document: it checks every byte against the grammar and builds nothing.

use std::ops::Range;

use crate::request::ScanError;

/// How deeply arrays and objects may stand in each other.
pub(crate) const MAX_DEPTH: usize = 128;

/// What kind of value a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
    at: usize,
}

/// A string as it stands in the text, without its quotes.
pub(crate) struct Quoted<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space, without taking it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Takes the next byte that is not white space if it is this one.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ScanError> {
        if self.take(byte) { Ok(()) } else { Err(self.broken(expected)) }
    }

    pub(crate) fn broken(&self, expected: &'static str) -> ScanError {
        ScanError::Broken { at: self.at, expected }
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, ScanError> {
        self.expect(b'"', "a string")?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_run(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Quoted { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.broken("no control character in a string")),
                None => return Err(self.broken("the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        let length = match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if rest.len() > 4 && rest[1..5].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(self.broken("an escape that JSON has")),
        };
        self.at += length;
        Ok(())
    }

    /// Takes a value of any kind, in which at most `depth` arrays and objects may stand in each other.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(Range<usize>, Kind), ScanError> {
        let first = self.peek();
        let start = self.at;
        let kind = match first {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => {
                let kind = self.scalar()?;
                return Ok((start..self.at, kind));
            }
        };
        self.nested(depth)?;
        Ok((start..self.at, kind))
    }

    /// Takes an array or object and all that is in it. The open ones are remembered as bits: 1 is an object.
    fn nested(&mut self, limit: usize) -> Result<(), ScanError> {
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            let begins = match self.peek() {
                Some(b'{') => Some((1, b'}')),
                Some(b'[') => Some((0, b']')),
                _ => None,
            };
            if let Some((bit, end)) = begins {
                if depth == limit.min(MAX_DEPTH) {
                    return Err(ScanError::TooDeep { at: self.at });
                }
                self.at += 1;
                open = open << 1 | bit;
                depth += 1;
                if !self.take(end) {
                    self.key_in(open)?;
                    continue;
                }
                open >>= 1;
                depth -= 1;
            } else {
                self.scalar()?;
            }
            while depth > 0 && !self.take(b',') {
                let end = if open & 1 == 1 { b'}' } else { b']' };
                self.expect(end, "a comma or the end of an array or object")?;
                open >>= 1;
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            self.key_in(open)?;
        }
    }

    /// Takes the next key and its colon, if what is open is an object.
    fn key_in(&mut self, open: u128) -> Result<(), ScanError> {
        if open & 1 == 1 {
            self.string()?;
            self.expect(b':', "a colon")?;
        }
        Ok(())
    }

    fn scalar(&mut self) -> Result<Kind, ScanError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| Kind::String),
            Some(b't') => self.literal("true", Kind::Bool(true)),
            Some(b'f') => self.literal("false", Kind::Bool(false)),
            Some(b'n') => self.literal("null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.broken("a value")),
        }
    }

    fn literal(&mut self, word: &'static str, kind: Kind) -> Result<Kind, ScanError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.broken("a value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<Kind, ScanError> {
        self.at += usize::from(self.here(b'-'));
        if self.here(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.here(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if self.here(b'e') || self.here(b'E') {
            self.at += 1;
            self.at += usize::from(self.here(b'+') || self.here(b'-'));
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    fn here(&self, byte: u8) -> bool {
        self.text.as_bytes().get(self.at) == Some(&byte)
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.broken("a digit"));
        }
        self.at += count;
        Ok(())
    }
}

/// How many bytes come before the next quote, backslash or control character, eight at a time: most of a large request is
/// one long string.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // A byte's high bit is set in the result if the byte is below `limit`; only the lowest such bit is to be trusted.
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
