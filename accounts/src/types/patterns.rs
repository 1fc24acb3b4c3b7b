//! Lists of model patterns, in their stored form.

use std::{collections::BTreeSet, fmt};

use paddock_store::stored_as_text;
use serde::{Deserialize, Serialize};

/// The models that a user or key may use: patterns that allow, and patterns that deny. An empty list
/// allows no model; a missing list allows all.
///
/// Patterns are canonical texts. This crate does not interpret or validate them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelPatterns(BTreeSet<String>);

stored_as_text!([] ModelPatterns, |patterns| patterns.to_string(), |text| Ok(ModelPatterns::from_stored(text)));

impl ModelPatterns {
    /// Returns the patterns, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Reads the stored form: the patterns, separated by a space. A pattern contains no space.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.split(' ').filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect())
    }
}

impl<S: Into<String>> FromIterator<S> for ModelPatterns {
    fn from_iter<I: IntoIterator<Item = S>>(patterns: I) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for ModelPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pattern) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(pattern)?;
        }
        Ok(())
    }
}
