//! Tables in Markdown.

use std::fmt::Write as _;

/// A table whose first column is named `first`.
pub(crate) fn table(first: &str, columns: &[&str], rows: impl IntoIterator<Item = (String, Vec<String>)>) -> String {
    let mut text = format!("| {first} | {} |\n|---|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
    for (name, figures) in rows {
        // Writing to a String does not fail.
        let _ = writeln!(text, "| {name} | {} |", figures.join(" | "));
    }
    text
}
