//! Removal of API keys from texts that are logged, stored or sent back. Clients send keys where none
//! belongs: in paths, model names and request ids.

use std::borrow::Cow;

/// How every key begins.
const PREFIX: &str = "pdk_";
/// The shortest text after the prefix that is removed. The id of a key has as many characters.
const MIN_LENGTH: usize = 10;
/// What takes the place of a key.
const REDACTED: &str = "pdk_(redacted)";

/// Replaces each text that looks like an API key, in any case.
pub(crate) fn redact_keys(text: &str) -> Cow<'_, str> {
    let Some(first) = find_key(text) else { return Cow::Borrowed(text) };
    let mut redacted = String::with_capacity(text.len());
    let (mut rest, mut found) = (text, Some(first));
    while let Some((start, end)) = found {
        redacted.push_str(&rest[..start]);
        redacted.push_str(REDACTED);
        rest = &rest[end..];
        found = find_key(rest);
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

/// Whether a text contains something that looks like an API key.
pub(crate) fn contains_key(text: &str) -> bool {
    find_key(text).is_some()
}

/// Returns the start and the end of the first text that looks like a key.
fn find_key(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let starts = (0..bytes.len().saturating_sub(PREFIX.len() + MIN_LENGTH - 1))
        .filter(|&at| bytes[at..at + PREFIX.len()].eq_ignore_ascii_case(PREFIX.as_bytes()));
    starts
        .map(|start| {
            let body = &bytes[start + PREFIX.len()..];
            let length = body.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            (start, start + PREFIX.len() + length)
        })
        .find(|(start, end)| end - start >= PREFIX.len() + MIN_LENGTH)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("pdk_0123456789_secret", "pdk_(redacted)")]
    #[case("/v1/models/pdk_0123456789_secret/x", "/v1/models/pdk_(redacted)/x")]
    #[case("a PDK_0123456789 b pdk_9876543210_x.", "a pdk_(redacted) b pdk_(redacted).")]
    #[case("pdk_short", "pdk_short")]
    #[case("pdk_pdk_0123456789", "pdk_(redacted)")]
    #[case("pdk", "pdk")]
    #[case("é pdk_0123456789é", "é pdk_(redacted)é")]
    fn only_keys_are_replaced(#[case] text: &str, #[case] redacted: &str) {
        assert_eq!(redact_keys(text), redacted);
        assert_eq!(contains_key(text), text != redacted);
    }
}
