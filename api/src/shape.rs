//! From JSON to a type, with every field that does not fit named at once.

#![expect(clippy::option_option, reason = "absent, null and a value are three things in a merge patch")]

use std::{
    fmt::{self, Display},
    marker::PhantomData,
    str::FromStr,
};

use paddock_accounts::Violation;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::problem::MAX_VIOLATIONS;

/// The longest rule, in characters.
const MAX_RULE: usize = 500;
/// The most that is shown of a key that the client made up, in characters.
const MAX_KEY: usize = 100;

/// Reads a value into a type that knows all its fields. What does not fit is taken out and noted, and the rest is read
/// again, until it fits or something is missing: so a client learns of all its mistakes in one go.
pub(crate) fn read<T: DeserializeOwned>(mut value: Value) -> Result<T, Vec<Violation>> {
    // Serde would take an array for the fields in their order.
    if !value.is_object() {
        return Err(vec![Violation::new("", "the body must be an object")]);
    }
    let mut found: Vec<Violation> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) if found.is_empty() => return Ok(read),
            Ok(_) => return Err(found),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let mut pointer = pointer(error.path());
        if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            pointer.push('/');
            pointer.push_str(&escape(field));
            // What was taken out above has been named already.
            if !found.iter().any(|violation| violation.pointer == pointer) {
                found.push(Violation::new(pointer, "is required"));
            }
            return Err(found);
        }
        found.push(Violation::new(pointer, rule(&message)));
        if found.len() == MAX_VIOLATIONS || !take_out(&mut value, error.path()) {
            return Err(found);
        }
    }
}

/// The rule in a message of serde's. What was sent instead is left out: it may be a password.
fn rule(message: &str) -> String {
    let quotes_value = message.starts_with("invalid type") || message.starts_with("invalid value");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if quotes_value => format!("must be {expected}"),
        // It quotes the name of an unknown field, which the client made up, and may have made long.
        _ => message.chars().take(MAX_RULE).collect(),
    }
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&escape(key)),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
    }
    pointer
}

/// As RFC 6901 escapes what stands between two slashes.
fn escape(key: &str) -> String {
    let key: String = key.chars().take(MAX_KEY).collect();
    key.replace('~', "~0").replace('/', "~1")
}

/// Removes the value a path leads to; false if there is none, or nothing would be left.
fn take_out(value: &mut Value, path: &Path) -> bool {
    let mut segments: Vec<&Segment> = path.iter().collect();
    let Some(last) = segments.pop() else { return false };
    let mut parent = value;
    for segment in segments {
        let child = match segment {
            Segment::Seq { index } => parent.get_mut(index),
            Segment::Map { key } => parent.get_mut(key),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        match child {
            Some(child) => parent = child,
            None => return false,
        }
    }
    match (last, parent) {
        (Segment::Map { key }, Value::Object(members)) => members.remove(key).is_some(),
        // Taking it out would move the ones behind it: then their pointers would be wrong.
        _ => false,
    }
}

/// For a field whose absence leaves things as they are and whose null clears them: `Some(None)` is null.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

/// For a field that may be absent and may not be null.
pub(crate) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A value that is written as an object and in no other way: Serde would take an array for the fields in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Members<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        from.deserialize_map(OfObject(PhantomData)).map(Self)
    }
}

/// A whole number in the one way to write it. Rust's own parser takes `+1` and `01` too, and then one thing has many names.
pub(crate) fn whole_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// For a query parameter that is a number.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = || serde::de::Error::custom("must be a whole number, as 20");
    whole_number(&text).map(Some).ok_or_else(wrong)
}

/// For a query parameter, which is always a text.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[expect(dead_code, reason = "only its reading matters")]
        name: String,
        #[serde(default, deserialize_with = "present")]
        note: Option<Option<String>>,
        #[expect(dead_code, reason = "only its reading matters")]
        #[serde(default, deserialize_with = "not_null")]
        count: Option<i64>,
        #[expect(dead_code, reason = "only its reading matters")]
        #[serde(default)]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its reading matters")]
        #[serde(default)]
        limit: Option<i64>,
    }

    fn pointers(value: Value) -> Vec<String> {
        let violations = read::<Example>(value).unwrap_err();
        violations.into_iter().map(|violation| violation.pointer).collect()
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut found = pointers(json!({"name": "a", "nmae": 1, "a/b": 2, "count": "x", "inner": {"limti": 1}}));
        found.sort();
        assert_eq!(found, ["/a~1b", "/count", "/inner/limti", "/nmae"]);
    }

    #[test]
    fn a_required_field_is_named_once_whether_it_is_missing_or_wrong() {
        assert_eq!(pointers(json!({})), ["/name"]);
        assert_eq!(pointers(json!({"name": 5})), ["/name"]);
    }

    #[test]
    fn absent_null_and_given_are_three_things() {
        assert_eq!(read::<Example>(json!({"name": "a"})).unwrap().note, None);
        assert_eq!(read::<Example>(json!({"name": "a", "note": null})).unwrap().note, Some(None));
        assert_eq!(read::<Example>(json!({"name": "a", "note": "b"})).unwrap().note, Some(Some("b".into())));
        assert_eq!(pointers(json!({"name": "a", "count": null})), ["/count"]);
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        let violations = read::<Example>(json!({"name": 123_456})).unwrap_err();
        assert_eq!(violations[0].detail, "must be a string");
    }

    #[test]
    fn what_is_no_object_is_refused_as_a_whole() {
        assert_eq!(pointers(json!([1])), [""]);
        assert_eq!(pointers(json!(null)), [""]);
    }
}
