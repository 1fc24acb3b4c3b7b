//! Variants of request bodies that are too large to be written down: long, deep and wide ones.

/// The most levels below the value of a member, as the gateway accepts them.
const DEEPEST: usize = 127;

/// A request with another member before the others.
fn with_member(member: &str) -> Vec<u8> {
    format!(r#"{{"model":"<allowed>",{member},<rest>}}"#).into_bytes()
}

fn lists(levels: usize) -> String {
    format!(r#""x":{}{}"#, "[".repeat(levels), "]".repeat(levels))
}

fn objects(levels: usize) -> String {
    format!(r#""x":{}0{}"#, r#"{"x":"#.repeat(levels), "}".repeat(levels))
}

fn many_members(count: usize) -> String {
    (0..count).map(|number| format!(r#""x{number}":0"#)).collect::<Vec<_>>().join(",")
}

/// Bodies that the gateway must serve.
pub(super) fn served() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a key of 10,000 characters", with_member(&format!(r#""{}":"<other>""#, "x".repeat(10_000)))),
        ("a number of 1,000 digits", with_member(&format!(r#""x":{}"#, "9".repeat(1_000)))),
        ("lists of the deepest level", with_member(&lists(DEEPEST))),
        ("objects of the deepest level", with_member(&objects(DEEPEST))),
        ("200 members", with_member(&many_members(200))),
    ]
}

/// Bodies beyond the limits of the gateway, which Ollama accepts up to its own ones.
pub(super) fn refused() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("lists one level too deep", with_member(&lists(DEEPEST + 1))),
        ("objects of 5,000 levels", with_member(&objects(5_000))),
        ("100,000 brackets that no one closes", format!(r#"{{"model":"<allowed>","x":{}"#, "[".repeat(100_000)).into()),
        ("300 members", with_member(&many_members(300))),
    ]
}

/// A request in UTF-16, which is not JSON.
pub(super) fn utf_16(model: &str) -> Vec<u8> {
    format!(r#"{{"model":"{model}"}}"#).encode_utf16().flat_map(u16::to_le_bytes).collect()
}
