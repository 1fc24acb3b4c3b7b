//! The scan of request bodies, compared with `serde_json`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    endpoints::{ENDPOINTS, Endpoint},
    request::{Edit, KnownFields, Member, ScanError, Scanned, scan, splice},
};

const NO_FIELDS: KnownFields = KnownFields { top_level: &[], nested: &[] };

/// The scan accepts what `serde_json` parses as an object, apart from its own rules, and finds the
/// same members in it. Edits remove and add what they say, and nothing else.
pub fn bodies_are_scanned_as_serde_json_parses_them(body: &[u8]) {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let is_json = str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    match scan(body, &NO_FIELDS) {
        Err(
            ScanError::ReservedKey { .. }
            | ScanError::DuplicateKey { .. }
            | ScanError::TooDeep { .. }
            | ScanError::TooManyMembers
            | ScanError::WrongKind { .. },
        ) => {}
        scanned => assert_eq!(scanned.is_ok(), is_object && is_json, "{scanned:?}"),
    }
    for endpoint in ENDPOINTS {
        if let Some(known) = endpoint.known_fields
            && let Ok(scanned) = scan(body, known)
        {
            check(body, endpoint, known, &scanned);
        }
    }
}

/// Checks a body that the scan accepts.
fn check(body: &[u8], endpoint: &Endpoint, known: &KnownFields, scanned: &Scanned<'_>) {
    let text = str::from_utf8(body).expect("the scan accepts only UTF-8");
    let Members(parsed) = serde_json::from_str(text).expect("the scan accepts only objects");
    assert_eq!(scanned.members().len(), parsed.len());
    for (member, (key, value)) in scanned.members().iter().zip(&parsed) {
        assert_eq!((&*member.key, &text[member.value_span.clone()]), (key.as_str(), value.get()));
    }
    let model = parsed.iter().find(|(key, _)| key == "model").map(|(_, value)| value.get());
    let model = model.map(|value| serde_json::from_str::<Option<String>>(value).expect("a string or null"));
    assert_eq!(scanned.model(), model.flatten().as_deref());

    assert!(scanned.prompt_bytes() <= body.len());
    assert!(scanned.conversation().map(str::len).sum::<usize>() <= body.len());
    let _ = (scanned.is_load_only(endpoint), scanned.searches_web());
    for parity in 0..2 {
        check_removal(body, known, scanned, parity);
    }
    if known.top_level.contains(&"stream_options")
        && let Some(edit) = scanned.request_usage()
    {
        check_request_for_usage(body, known, edit);
    }
}

/// Removes every second member.
fn check_removal(body: &[u8], known: &KnownFields, scanned: &Scanned<'_>, parity: usize) {
    let is_removed = |member: &Member<'_>| {
        scanned.members().iter().position(|other| other.span == member.span).is_some_and(|at| at % 2 == parity)
    };
    let edited = splice(body, &scanned.remove_members(is_removed));
    let left = scan(&edited, known).expect("a request without some of its members");
    let kept: Vec<_> = scanned.members().iter().filter(|member| !is_removed(member)).collect();
    assert_eq!(left.members().len(), kept.len());
    for (left, kept) in left.members().iter().zip(kept) {
        assert_eq!(left.key, kept.key);
        assert_eq!(edited[left.span.clone()], body[kept.span.clone()]);
    }
}

fn check_request_for_usage(body: &[u8], known: &KnownFields, edit: Edit) {
    let edited = splice(body, &[edit]);
    match scan(&edited, known) {
        Ok(edited) => assert_eq!(edited.request_usage(), None),
        // The request had as many members as it may have.
        Err(error) => assert_eq!(error, ScanError::TooManyMembers),
    }
}

/// The members of an object, in order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
