//! Searching for a part of a text.

/// Builds the LIKE pattern for a substring, with its wildcards escaped by `\`. The statement converts
/// the pattern and the column to lower case; SQLite converts only ASCII letters.
#[must_use]
pub fn like_pattern(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}
