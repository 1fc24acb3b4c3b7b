//! Deserialization of JSON values that reports every invalid field at once, with helpers for
//! fields.

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

use crate::http::error::MAX_VIOLATIONS;

/// The longest text of a rule, in characters.
const MAX_RULE_LENGTH: usize = 500;
/// How many characters of an unknown key an error repeats.
const MAX_KEY_LENGTH: usize = 100;

/// Deserializes an object, and returns all violations at once. On an invalid member, this records
/// the violation, removes the member and tries again. The loop ends when the rest is valid or a
/// required member is missing.
pub(crate) fn read<T: DeserializeOwned>(mut value: Value) -> Result<T, Vec<Violation>> {
    // Serde would accept an array of the fields in their order.
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
            // The loop has already recorded a violation of a removed member.
            if !found.iter().any(|violation| violation.pointer == pointer) {
                found.push(Violation::new(pointer, "is required"));
            }
            return Err(found);
        }
        found.push(Violation::new(pointer, rule(&message)));
        if found.len() == MAX_VIOLATIONS || !remove_member(&mut value, error.path()) {
            return Err(found);
        }
    }
}

/// Extracts the rule from a message of serde. Omits the value that the client sent, because the
/// value may be a password.
fn rule(message: &str) -> String {
    let quotes_value = message.starts_with("invalid type") || message.starts_with("invalid value");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if quotes_value => format!("must be {}", json_type(expected)),
        // The message quotes the name of an unknown field, which may be long.
        _ => message.chars().take(MAX_RULE_LENGTH).collect(),
    }
}

/// Names a type as JSON does. Serde names those of Rust.
fn json_type(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" => "a whole number, such as 20",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative, such as 20",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        // `struct Name`, with or without its number of elements.
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
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

/// Escapes a segment of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    let key: String = key.chars().take(MAX_KEY_LENGTH).collect();
    key.replace('~', "~0").replace('/', "~1")
}

/// Removes the object member at a path. Returns false if the path leads to no such member.
fn remove_member(value: &mut Value, path: &Path) -> bool {
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
        // Removing an array element would change the pointers of the elements after it.
        _ => false,
    }
}

/// Deserializes a field that may be absent but not null.
pub(crate) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A struct that must be written as an object. Serde alone would also accept an array of its fields
/// in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ObjectOnly<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ObjectOnly<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        from.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

/// Parses a whole number in its only canonical form. Rust's own parser also accepts `+1` and `01`.
pub(crate) fn whole_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// Deserializes a query parameter that is a whole number.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = || serde::de::Error::custom("must be a whole number, as 20");
    whole_number(&text).map(Some).ok_or_else(wrong)
}

/// Deserializes a query parameter by `FromStr`.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_with::rust::double_option;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(clippy::option_option, reason = "absent, null and a value are three things in a merge patch")]
    struct Example {
        #[expect(dead_code, reason = "only its reading matters")]
        name: String,
        #[serde(default, with = "double_option")]
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
    fn the_value_that_was_sent_is_not_repeated() {
        let violations = read::<Example>(json!({"name": 123_456})).unwrap_err();
        assert_eq!(violations[0].detail, "must be a string");
    }

    #[test]
    fn types_are_named_as_in_json() {
        let details = |value| {
            let violations = read::<Example>(value).unwrap_err();
            violations.into_iter().map(|violation| violation.detail).collect::<Vec<_>>()
        };
        for wrong in [json!("1"), json!(1.5), json!(true), json!([1])] {
            assert_eq!(details(json!({"name": "a", "count": wrong})), ["must be a whole number, such as 20"]);
        }
        assert_eq!(details(json!({"name": "a", "inner": 1})), ["must be an object"]);
    }

    #[test]
    fn anything_but_an_object_is_refused() {
        assert_eq!(pointers(json!([1])), [""]);
        assert_eq!(pointers(json!(null)), [""]);
    }
}
