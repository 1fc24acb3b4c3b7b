//! The input of a request: whether the request has input for its model, the size of the input, and
//! whether a tool sends it to the internet.

use std::borrow::Cow;

use super::{
    error::ScanError,
    json::{Cursor, MAX_DEPTH, RawString, ValueKind},
    scan::{Scanned, folds_to},
};
use crate::{
    dialect::Dialect,
    endpoints::{Endpoint, Operation},
};

/// The members that a model reads.
const PROMPT_FIELDS: &[&str] =
    &["messages", "prompt", "suffix", "input", "system", "template", "instructions", "context", "tools"];

/// The members of which a conversation consists, in the order in which a model reads them.
const CONVERSATION_FIELDS: &[&str] = &["system", "instructions", "tools", "context", "messages", "prompt", "input"];

/// The prefix of the tool types for which Ollama calls a search service on the internet.
const WEB_SEARCH: &str = "web_search";

impl Scanned<'_> {
    /// Returns whether a request of the native API only loads or unloads its model, because it has
    /// no input for it.
    #[must_use]
    pub fn is_load_only(&self, endpoint: &Endpoint) -> bool {
        if endpoint.dialect != Dialect::Ollama {
            return false;
        }
        let inputs: &[&str] = match endpoint.operation {
            Operation::Chat => &["messages"],
            Operation::Generate => &["prompt"],
            Operation::Embed => &["input", "prompt"],
            _ => return false,
        };
        let known = endpoint.known_fields.map_or(&[][..], |fields| fields.top_level);
        inputs.iter().filter(|input| known.contains(input)).all(|input| self.is_empty(input))
    }

    /// Returns the size of the members that the model reads, in bytes as written.
    #[must_use]
    pub fn prompt_bytes(&self) -> usize {
        let read = self.members().iter().filter(|member| PROMPT_FIELDS.contains(&&*member.key));
        read.map(|member| member.value_span.len()).sum()
    }

    /// Returns the text of the prompt as written, in parts. A later turn of the same conversation
    /// begins with it, because the closing bracket of a list is left out.
    pub fn conversation(&self) -> impl Iterator<Item = &str> {
        let members = CONVERSATION_FIELDS.iter().filter_map(|key| self.top_level().member(key));
        members.map(|member| {
            let value = self.value_of(member);
            value.strip_suffix([']', '"']).unwrap_or(value).trim_ascii_end()
        })
    }

    /// Returns whether a tool of the request makes Ollama search the internet. Compares keys and
    /// texts as Ollama does. Returns true if the tools cannot be parsed.
    #[must_use]
    pub fn searches_web(&self) -> bool {
        let tools = self.top_level().member("tools").filter(|tools| tools.kind == ValueKind::Array);
        tools.is_some_and(|tools| has_web_search(self.value_of(tools)).unwrap_or(true))
    }

    /// Whether a member is absent, or null, or an empty text or list.
    fn is_empty(&self, key: &str) -> bool {
        let Some(member) = self.top_level().member(key) else { return true };
        let value = self.value_of(member);
        match member.kind {
            ValueKind::Null => true,
            ValueKind::String => value == "\"\"",
            ValueKind::Array => value[1..value.len() - 1].trim_ascii().is_empty(),
            _ => false,
        }
    }
}

/// Whether an array has an object with the type of a web search. It builds no values, because the
/// array may be large.
fn has_web_search(array: &str) -> Result<bool, ScanError> {
    let mut cursor = Cursor::new(array);
    cursor.expect(b'[', "an array")?;
    while !cursor.consume(b']') {
        if cursor.peek() == Some(b'{') {
            if is_web_search(&mut cursor)? {
                return Ok(true);
            }
        } else {
            cursor.skip_value(MAX_DEPTH)?;
        }
        cursor.consume(b',');
    }
    Ok(false)
}

/// Whether the next object has the type of a web search.
fn is_web_search(cursor: &mut Cursor<'_>) -> Result<bool, ScanError> {
    cursor.expect(b'{', "an object")?;
    while !cursor.consume(b'}') {
        let is_type = folds_to(&unescape(&cursor.string()?), "type");
        cursor.expect(b':', "a colon")?;
        if is_type && cursor.peek() == Some(b'"') {
            if unescape(&cursor.string()?).starts_with(WEB_SEARCH) {
                return Ok(true);
            }
        } else {
            cursor.skip_value(MAX_DEPTH)?;
        }
        cursor.consume(b',');
    }
    Ok(false)
}

/// Decodes a string as Go does: half of a surrogate pair becomes U+FFFD.
fn unescape<'a>(raw: &RawString<'a>) -> Cow<'a, str> {
    if !raw.has_escapes {
        return Cow::Borrowed(raw.text);
    }
    let mut units: Vec<u16> = Vec::with_capacity(raw.text.len());
    let mut rest = raw.text;
    while let Some(at) = rest.find('\\') {
        units.extend(rest[..at].encode_utf16());
        let escape = &rest[at + 1..];
        let (unit, length) = match escape.as_bytes().first() {
            Some(b'u') => (escape.get(1..5).and_then(|digits| u16::from_str_radix(digits, 16).ok()), 5),
            Some(b'b') => (Some(0x08), 1),
            Some(b'f') => (Some(0x0c), 1),
            Some(b'n') => (Some(0x0a), 1),
            Some(b'r') => (Some(0x0d), 1),
            Some(b't') => (Some(0x09), 1),
            Some(byte) => (Some(u16::from(*byte)), 1),
            None => (None, 0),
        };
        units.extend(unit);
        rest = escape.get(length..).unwrap_or_default();
    }
    units.extend(rest.encode_utf16());
    Cow::Owned(String::from_utf16_lossy(&units))
}
