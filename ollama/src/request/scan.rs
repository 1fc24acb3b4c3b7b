//! The scan: reads the members that matter, without building the document.

use std::{borrow::Cow, ops::Range};

use super::{
    error::ScanError,
    json::{Cursor, MAX_DEPTH, RawString, ValueKind},
    known_fields::KnownFields,
};

/// The field that asks Ollama to pull without TLS.
const INSECURE: &str = "insecure";

/// Maximum number of members of the top-level object, of `options` and of `stream_options`.
const MAX_MEMBERS: usize = 256;

/// Maximum length of a client's key in an error, in characters.
const MAX_KEY_IN_ERROR: usize = 40;

/// A member of a scanned object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, decoded.
    pub key: Cow<'a, str>,
    /// Byte range of the member in the body, from the opening quote of the key to the end of the
    /// value.
    pub span: Range<usize>,
    /// Byte range of the value in the body.
    pub value_span: Range<usize>,
    /// The kind of the value.
    pub kind: ValueKind,
}

/// The scanned parts of a valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned<'a> {
    text: &'a str,
    top_level: Object<'a>,
    nested: Vec<(&'static str, Object<'a>)>,
    model: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    stream: Option<bool>,
    insecure: Option<bool>,
    include_usage: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object<'a> {
    /// Offset of the byte after the opening brace.
    pub(super) content_start: usize,
    pub(super) members: Vec<Member<'a>>,
}

/// Scans a request body in one pass. Allocates the list of members, and the strings that contain
/// escapes.
pub fn scan<'a>(body: &'a [u8], known: &KnownFields) -> Result<Scanned<'a>, ScanError> {
    let text = str::from_utf8(body).map_err(|error| ScanError::InvalidUtf8 { at: error.valid_up_to() })?;
    let mut cursor = Cursor::new(text);
    let mut nested = Vec::new();
    let top_level = scan_object(&mut cursor, known.top_level, |cursor, key| {
        let Some(&(name, inner)) = known.nested.iter().find(|(name, _)| *name == key) else {
            return cursor.skip_value(MAX_DEPTH - 1);
        };
        if cursor.peek() != Some(b'{') {
            return match cursor.skip_value(MAX_DEPTH - 1)? {
                (span, ValueKind::Null) => Ok((span, ValueKind::Null)),
                (span, _) => Err(ScanError::WrongKind { key: name, expected: "an object", at: span.start }),
            };
        }
        let start = cursor.position();
        let object = scan_object(cursor, inner, |cursor, _| cursor.skip_value(MAX_DEPTH - 2))?;
        nested.push((name, object));
        Ok((start..cursor.position(), ValueKind::Object))
    })?;
    if cursor.peek().is_some() {
        return Err(cursor.syntax_error("nothing after the document"));
    }
    let options = find_object(&nested, "stream_options");
    Ok(Scanned {
        text,
        model: top_level.string_value(text, known, "model")?,
        name: top_level.string_value(text, known, "name")?,
        stream: top_level.bool_value("stream")?,
        insecure: if known.top_level.contains(&INSECURE) { top_level.bool_value(INSECURE)? } else { None },
        include_usage: options.map_or(Ok(None), |options| options.bool_value("include_usage"))?,
        top_level,
        nested,
    })
}

fn find_object<'s, 'a>(nested: &'s [(&'static str, Object<'a>)], key: &str) -> Option<&'s Object<'a>> {
    nested.iter().find(|(name, _)| *name == key).map(|(_, object)| object)
}

/// Scans an object and checks its keys. Calls `scan_value` to consume each value.
fn scan_object<'a>(
    cursor: &mut Cursor<'a>,
    known: &[&'static str],
    mut scan_value: impl FnMut(&mut Cursor<'a>, &str) -> Result<(Range<usize>, ValueKind), ScanError>,
) -> Result<Object<'a>, ScanError> {
    cursor.expect(b'{', "an object")?;
    let content_start = cursor.position();
    let mut members: Vec<Member<'a>> = Vec::new();
    if cursor.consume(b'}') {
        return Ok(Object { content_start, members });
    }
    loop {
        cursor.peek();
        let start = cursor.position();
        let key = check_key(&cursor.string()?, known, start)?;
        if members.iter().any(|member| member.key == key) {
            return Err(ScanError::DuplicateKey { key: truncate(&key), at: start });
        }
        if members.len() == MAX_MEMBERS {
            return Err(ScanError::TooManyMembers);
        }
        cursor.expect(b':', "a colon")?;
        let (value_span, kind) = scan_value(cursor, &key)?;
        members.push(Member { key, span: start..value_span.end, value_span, kind });
        if cursor.consume(b'}') {
            return Ok(Object { content_start, members });
        }
        cursor.expect(b',', "a comma or the end of an object")?;
    }
}

/// Decodes the key at this offset. Fails if Ollama would take it for a known field that is spelled
/// differently, or if it is reserved.
fn check_key<'a>(raw: &RawString<'a>, known: &[&'static str], at: usize) -> Result<Cow<'a, str>, ScanError> {
    let key = decode(raw).ok_or_else(|| ScanError::ReservedKey { key: truncate(raw.text), at })?;
    if let Some(canonical) = known.iter().find(|known| folds_to(&key, known)) {
        return if raw.text == *canonical { Ok(key) } else { Err(ScanError::NonCanonicalKey { key: canonical, at }) };
    }
    if key.starts_with('_') {
        return Err(ScanError::ReservedKey { key: truncate(&key), at });
    }
    Ok(key)
}

/// Returns whether Go's `encoding/json` would match `key` with the ASCII key `known`.
///
/// Go compares keys under Unicode simple case folding. Besides the ASCII letters this maps two
/// other characters to ASCII: the Kelvin sign and the long s.
pub(super) fn folds_to(key: &str, known: &str) -> bool {
    let fold = |letter| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars())
}

/// Decodes a string. Returns `None` if it contains half of a surrogate pair, which is not text.
fn decode<'a>(raw: &RawString<'a>) -> Option<Cow<'a, str>> {
    if !raw.has_escapes {
        return Some(Cow::Borrowed(raw.text));
    }
    serde_json::from_str(&format!("\"{}\"", raw.text)).ok().map(Cow::Owned)
}

/// Truncates a client's key for an error.
fn truncate(key: &str) -> String {
    key.chars().take(MAX_KEY_IN_ERROR).collect()
}

impl<'a> Object<'a> {
    pub(super) fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    fn string_value(
        &self,
        text: &'a str,
        known: &KnownFields,
        key: &'static str,
    ) -> Result<Option<Cow<'a, str>>, ScanError> {
        let Some(member) = self.member(key).filter(|_| known.top_level.contains(&key)) else {
            return Ok(None);
        };
        let wrong_kind = ScanError::WrongKind { key, expected: "a string", at: member.value_span.start };
        match member.kind {
            ValueKind::Null => Ok(None),
            ValueKind::String => {
                let text = &text[member.value_span.start + 1..member.value_span.end - 1];
                decode(&RawString { text, has_escapes: text.contains('\\') }).map(Some).ok_or(wrong_kind)
            }
            _ => Err(wrong_kind),
        }
    }

    fn bool_value(&self, key: &'static str) -> Result<Option<bool>, ScanError> {
        let Some(member) = self.member(key) else { return Ok(None) };
        match member.kind {
            ValueKind::Null => Ok(None),
            ValueKind::Bool(value) => Ok(Some(value)),
            _ => Err(ScanError::WrongKind { key, expected: "true or false", at: member.value_span.start }),
        }
    }
}

impl<'a> Scanned<'a> {
    /// Returns the top-level members, in the order of the body.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        &self.top_level.members
    }

    /// Returns the members of the nested object `key`, which must be one of
    /// [`KnownFields::nested`], such as `options`. The slice is empty if the object is absent or
    /// null.
    #[must_use]
    pub fn members_of(&self, key: &str) -> &[Member<'a>] {
        find_object(&self.nested, key).map_or(&[], |object| &object.members)
    }

    /// Returns the value of `model`, decoded. It may be empty. `None` if it is absent or null.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Returns the value of `name`, decoded. `None` if it is absent, null or not a known field.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the value of `stream`. `None` if it is absent or null.
    #[must_use]
    pub fn stream(&self) -> Option<bool> {
        self.stream
    }

    /// Returns the value of `insecure`. `None` if it is absent, null or not a known field.
    #[must_use]
    pub fn insecure(&self) -> Option<bool> {
        self.insecure
    }

    /// Returns the text of a member's value, as written.
    pub(super) fn value_of(&self, member: &Member<'_>) -> &'a str {
        &self.text[member.value_span.clone()]
    }

    /// Returns the top-level object.
    pub(super) fn top_level(&self) -> &Object<'a> {
        &self.top_level
    }

    /// Returns the nested object `key`.
    pub(super) fn nested(&self, key: &str) -> Option<&Object<'a>> {
        find_object(&self.nested, key)
    }

    /// Whether the client has set `stream_options.include_usage`.
    pub(super) fn includes_usage(&self) -> bool {
        self.include_usage == Some(true)
    }
}
