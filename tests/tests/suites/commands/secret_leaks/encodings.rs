//! The encodings in which a secret could leak.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use memchr::memmem::Finder;

/// A text to look for in every encoding. It must be long, as a short one is found by chance.
pub(super) struct Secret {
    pub(super) name: &'static str,
    encoded: Vec<(&'static str, Finder<'static>)>,
}

impl Secret {
    pub(super) fn new(name: &'static str, text: &str) -> Self {
        let finder = |text: String| Finder::new(text.as_bytes()).into_owned();
        let encoded = encodings(text).into_iter().map(|(encoding, text)| (encoding, finder(text)));
        Self { name, encoded: encoded.collect() }
    }

    /// The first encoding that is found in these bytes, and its position.
    pub(super) fn found(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        self.encoded.iter().find_map(|(encoding, finder)| Some((*encoding, finder.find(bytes)?)))
    }
}

fn encodings(text: &str) -> Vec<(&'static str, String)> {
    let hexadecimal = hex::encode(text);
    let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
    let json = serde_json::Value::from(text).to_string();
    let mut encodings = vec![
        ("as plain text", text.to_owned()),
        ("escaped", json[1..json.len() - 1].to_owned()),
        ("escaped twice", json[1..json.len() - 1].replace('\\', r"\\").replace('"', "\\\"")),
        ("in hexadecimal", hexadecimal.to_uppercase()),
        ("in hexadecimal", hexadecimal),
        ("as bytes", numbers.join(", ")),
        ("as bytes", numbers.join(",")),
        ("percent-encoded", percent(text)),
        ("percent-encoded", percent(text).replace("%20", "+")),
    ];
    for offset in 0..3 {
        encodings.push(("in Base64", base64_core(&BASE64_STANDARD, text, offset)));
        encodings.push(("in Base64", base64_core(&BASE64_URL_SAFE, text, offset)));
    }
    encodings.sort_by(|(_, one), (_, other)| one.cmp(other));
    encodings.dedup_by(|(_, one), (_, other)| one == other);
    encodings
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a string never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The Base64 digits that depend on the text alone, when it begins at this offset modulo 3.
fn base64_core(engine: &impl base64::Engine, text: &str, offset: usize) -> String {
    let encoded = engine.encode([&b"\0\0"[..offset], text.as_bytes()].concat());
    let (first, end) = ((offset * 8).div_ceil(6), (offset + text.len()) * 8 / 6);
    encoded[first..end].to_owned()
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    let text = "violet \"harbour\" 41?>";
    let secret = Secret::new("it", text);
    let debug = format!("{:?}", text.as_bytes());
    let json = serde_json::json!({"inner": serde_json::json!({"password": text}).to_string()}).to_string();
    let written = [
        text.to_owned(),
        format!("{text:?}"),
        serde_json::json!({"password": text}).to_string(),
        json,
        hex::encode(format!("before {text} after")),
        hex::encode_upper(text),
        debug,
        serde_json::json!(text.as_bytes()).to_string(),
        "?password=violet%20%22harbour%22%2041%3F%3E&x".to_owned(),
        "?password=violet+%22harbour%22+41%3F%3E&x".to_owned(),
        BASE64_STANDARD.encode(text),
        BASE64_STANDARD.encode(format!("a:{text}")),
        BASE64_STANDARD.encode(format!("admin@example.com:{text}:")),
        BASE64_URL_SAFE.encode(format!("ab:{text}, more")),
    ];
    for written in written {
        assert!(secret.found(written.as_bytes()).is_some(), "{written}");
    }
}

#[test]
fn a_similar_text_is_not_taken_for_a_secret() {
    let secret = Secret::new("it", "violet \"harbour\" 41?>");
    assert!(secret.found(b"violet harbour 41?>").is_none());
}
