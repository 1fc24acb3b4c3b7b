//! The strict scan of a request: what must be known of it, without building the document.
//!
//! Ollama reads JSON as Go does: a key in any case, or with a letter that Unicode folds to the right one, is the key; the
//! last of several wins; what follows the document is ignored. A gateway that read it otherwise would authorise one model
//! and run another. So a request that leaves any of this open is refused, and the bytes of the others go on as they came.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

pub use crate::json::Kind;
use crate::json::{Cursor, MAX_DEPTH, Quoted};
pub use crate::keys::KnownKeys;

/// The most members an object may have at the top level, in `options` and in `stream_options`.
const MAX_MEMBERS: usize = 256;

/// Why a request is refused before it is read any further. Every one is the client's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// Not JSON.
    #[error("the body is not valid JSON: byte {at}: expected {expected}")]
    Broken {
        /// Position of the byte, from 0.
        at: usize,
        /// What the grammar asks for there.
        expected: &'static str,
    },
    /// Not UTF-8.
    #[error("the body is not valid UTF-8: byte {at}")]
    NotUtf8 {
        /// Position of the byte, from 0.
        at: usize,
    },
    /// More than 128 arrays and objects in each other.
    #[error("the body is nested too deeply: byte {at}")]
    TooDeep {
        /// Position of the byte, from 0.
        at: usize,
    },
    /// More than 256 members in an object that is read.
    #[error("the body has too many members")]
    TooManyMembers,
    /// A key stands twice.
    #[error("the key {0:?} is given more than once")]
    Duplicate(String),
    /// A key that Ollama would take for another.
    #[error("write the key {0:?} in exactly this way")]
    Disguised(&'static str),
    /// A key that begins with `_`: Ollama's own debugging.
    #[error("the key {0:?} is not accepted")]
    Reserved(String),
    /// A value of the wrong kind.
    #[error("{key:?} must be {expected}")]
    WrongKind {
        /// The key.
        key: &'static str,
        /// What its value must be.
        expected: &'static str,
    },
}

/// A member of an object that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, decoded.
    pub key: Cow<'a, str>,
    /// Where the whole member stands in the body, from the key's quote to the value's end.
    pub span: Range<usize>,
    /// Where the value stands in the body.
    pub value: Range<usize>,
    /// The value's kind.
    pub kind: Kind,
}

/// What is known of a request that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned<'a> {
    top: Object<'a>,
    nested: Vec<(&'static str, Object<'a>)>,
    model: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    stream: Option<bool>,
    include_usage: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Object<'a> {
    /// Position after the opening brace.
    inside: usize,
    members: Vec<Member<'a>>,
}

/// Scans a request body. It takes one pass over the bytes and allocates nothing but the list of members.
pub fn scan<'a>(body: &'a [u8], known: &KnownKeys) -> Result<Scanned<'a>, ScanError> {
    let text = str::from_utf8(body).map_err(|error| ScanError::NotUtf8 { at: error.valid_up_to() })?;
    let mut cursor = Cursor::new(text);
    let mut nested = Vec::new();
    let top = object(&mut cursor, known.top, |cursor, key| {
        let Some(&(name, inner)) = known.nested.iter().find(|(name, _)| *name == key) else {
            return cursor.value(MAX_DEPTH - 1);
        };
        if cursor.peek() != Some(b'{') {
            return match cursor.value(MAX_DEPTH - 1)? {
                (span, Kind::Null) => Ok((span, Kind::Null)),
                _ => Err(ScanError::WrongKind { key: name, expected: "an object" }),
            };
        }
        let start = cursor.at();
        let members = object(cursor, inner, |cursor, _| cursor.value(MAX_DEPTH - 2))?;
        nested.push((name, members));
        Ok((start..cursor.at(), Kind::Object))
    })?;
    if cursor.peek().is_some() {
        return Err(cursor.broken("nothing after the document"));
    }
    let include_usage = nested.iter().find(|(name, _)| *name == "stream_options");
    Ok(Scanned {
        model: top.string(text, known, "model")?,
        name: top.string(text, known, "name")?,
        stream: top.bool("stream")?,
        include_usage: include_usage.map_or(Ok(None), |(_, object)| object.bool("include_usage"))?,
        top,
        nested,
    })
}

/// Reads an object whose keys matter; `value` takes the value of each.
fn object<'a>(
    cursor: &mut Cursor<'a>,
    known: &[&'static str],
    mut value: impl FnMut(&mut Cursor<'a>, &str) -> Result<(Range<usize>, Kind), ScanError>,
) -> Result<Object<'a>, ScanError> {
    cursor.expect(b'{', "an object")?;
    let inside = cursor.at();
    let mut members: Vec<Member<'a>> = Vec::new();
    if cursor.take(b'}') {
        return Ok(Object { inside, members });
    }
    loop {
        cursor.peek();
        let start = cursor.at();
        let key = key(&cursor.string()?, known)?;
        if members.iter().any(|member| member.key == key) {
            return Err(ScanError::Duplicate(shown(&key)));
        }
        if members.len() == MAX_MEMBERS {
            return Err(ScanError::TooManyMembers);
        }
        cursor.expect(b':', "a colon")?;
        let (value, kind) = value(cursor, &key)?;
        members.push(Member { key, span: start..value.end, value, kind });
        if cursor.take(b'}') {
            return Ok(Object { inside, members });
        }
        cursor.expect(b',', "a comma or the end of an object")?;
    }
}

/// Decodes a key and refuses the one that could be taken for another.
fn key<'a>(quoted: &Quoted<'a>, known: &[&'static str]) -> Result<Cow<'a, str>, ScanError> {
    let key = decode(quoted).ok_or_else(|| ScanError::Reserved(shown(quoted.raw)))?;
    if let Some(meant) = known.iter().find(|known| folds_to(&key, known)) {
        return if quoted.raw == *meant { Ok(key) } else { Err(ScanError::Disguised(meant)) };
    }
    if key.starts_with('_') {
        return Err(ScanError::Reserved(shown(&key)));
    }
    Ok(key)
}

/// Whether Go's `encoding/json` would take `key` for the ASCII key `known`: it compares under Unicode's simple folding,
/// by which two letters outside ASCII, the Kelvin sign and the long s, are letters of it.
fn folds_to(key: &str, known: &str) -> bool {
    let fold = |letter| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars())
}

/// Decodes a string; `None` if it has half of a surrogate pair, which is no text.
fn decode<'a>(quoted: &Quoted<'a>) -> Option<Cow<'a, str>> {
    if !quoted.escaped {
        return Some(Cow::Borrowed(quoted.raw));
    }
    serde_json::from_str(&format!("\"{}\"", quoted.raw)).ok().map(Cow::Owned)
}

/// A client's key as an error may show it.
fn shown(key: &str) -> String {
    key.chars().take(40).collect()
}

impl<'a> Object<'a> {
    fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    fn string(&self, text: &'a str, known: &KnownKeys, key: &'static str) -> Result<Option<Cow<'a, str>>, ScanError> {
        let Some(member) = self.member(key).filter(|_| known.top.contains(&key)) else {
            return Ok(None);
        };
        let wrong = ScanError::WrongKind { key, expected: "a string" };
        match member.kind {
            Kind::Null => Ok(None),
            Kind::String => {
                let raw = &text[member.value.start + 1..member.value.end - 1];
                decode(&Quoted { raw, escaped: raw.contains('\\') }).map(Some).ok_or(wrong)
            }
            _ => Err(wrong),
        }
    }

    fn bool(&self, key: &'static str) -> Result<Option<bool>, ScanError> {
        match self.member(key).map(|member| member.kind) {
            None | Some(Kind::Null) => Ok(None),
            Some(Kind::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(ScanError::WrongKind { key, expected: "true or false" }),
        }
    }
}

impl<'a> Scanned<'a> {
    /// The members at the top level, in order.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        &self.top.members
    }

    /// The members of an object at the top level whose keys are known, such as `options`; none if it is absent or null.
    #[must_use]
    pub fn members_of(&self, key: &str) -> &[Member<'a>] {
        self.nested.iter().find(|(name, _)| *name == key).map_or(&[], |(_, object)| &object.members)
    }

    /// The member of this key at the top level.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.top.member(key)
    }

    /// The value of `model`, decoded; it may be empty. `None` if it is absent or null.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The value of `name`, likewise, where it is a key that Ollama knows.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The value of `stream`; `None` if it is absent or null.
    #[must_use]
    pub fn stream(&self) -> Option<bool> {
        self.stream
    }

    /// Whether the client asked for the usage of a stream (`stream_options.include_usage`).
    #[must_use]
    pub fn asks_usage(&self) -> bool {
        self.include_usage == Some(true)
    }

    /// The edit that asks for the usage of a stream in the client's stead; `None` if the client asks itself.
    #[must_use]
    pub fn ask_usage(&self) -> Option<Edit> {
        if self.asks_usage() {
            return None;
        }
        let insert = |object: &Object<'_>, member: &str| {
            let comma = if object.members.is_empty() { "" } else { "," };
            Edit { span: object.inside..object.inside, with: format!("{member}{comma}").into() }
        };
        let replace = |member: &Member<'_>, with| Edit { span: member.value.clone(), with: Cow::Borrowed(with) };
        let options = self.nested.iter().find(|(name, _)| *name == "stream_options").map(|(_, object)| object);
        Some(match (options, self.member("stream_options")) {
            (Some(options), _) => match options.member("include_usage") {
                Some(member) => replace(member, "true"),
                None => insert(options, r#""include_usage":true"#),
            },
            (None, Some(null)) => replace(null, r#"{"include_usage":true}"#),
            (None, None) => insert(&self.top, r#""stream_options":{"include_usage":true}"#),
        })
    }
}

/// A change to a body: `with` instead of the bytes of `span`, which may be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub span: Range<usize>,
    /// What is put there.
    pub with: Cow<'static, str>,
}

/// Applies edits, which come in the order of their spans and do not overlap; all other bytes stay as they are.
#[must_use]
pub fn splice(body: &[u8], edits: &[Edit]) -> Bytes {
    let grown: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut spliced = BytesMut::with_capacity(body.len() + grown);
    let mut copied = 0;
    for edit in edits {
        spliced.extend_from_slice(&body[copied..edit.span.start]);
        spliced.extend_from_slice(edit.with.as_bytes());
        copied = edit.span.end;
    }
    spliced.extend_from_slice(&body[copied..]);
    spliced.freeze()
}

#[cfg(test)]
mod tests;
