//! The forms that a text can take where nobody meant to write it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use memchr::memmem::Finder;

/// A text to look for, in every form. A short one is met by accident.
pub(super) struct Secret {
    pub(super) what: &'static str,
    forms: Vec<(&'static str, Finder<'static>)>,
}

impl Secret {
    pub(super) fn new(what: &'static str, text: &str) -> Self {
        let forms = forms(text).into_iter().map(|(form, text)| (form, Finder::new(text.as_bytes()).into_owned()));
        Self { what, forms: forms.collect() }
    }

    /// The form in which it stands there, and where.
    pub(super) fn found(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        self.forms.iter().find_map(|(form, finder)| Some((*form, finder.find(bytes)?)))
    }
}

fn forms(text: &str) -> Vec<(&'static str, String)> {
    let hexadecimal = hex::encode(text);
    let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
    let json = serde_json::Value::from(text).to_string();
    let mut forms = vec![
        ("as it is", text.to_owned()),
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
        forms.push(("in Base64", inner(&BASE64_STANDARD, text, offset)));
        forms.push(("in Base64", inner(&BASE64_URL_SAFE, text, offset)));
    }
    forms.sort_by(|(_, one), (_, other)| one.cmp(other));
    forms.dedup_by(|(_, one), (_, other)| one == other);
    forms
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // A string takes whatever is written to it.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The digits that depend on the text alone, wherever it begins within what is encoded.
fn inner(engine: &impl base64::Engine, text: &str, offset: usize) -> String {
    let encoded = engine.encode([&b"\0\0"[..offset], text.as_bytes()].concat());
    let (first, end) = ((offset * 8).div_ceil(6), (offset + text.len()) * 8 / 6);
    encoded[first..end].to_owned()
}

#[test]
fn a_secret_is_found_in_every_form_and_others_are_not() {
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
    assert!(secret.found("violet harbour 41?>".as_bytes()).is_none());
}
