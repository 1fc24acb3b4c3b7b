//! Allow-lists of model patterns, in their stored form.

use std::{collections::BTreeSet, fmt};

use paddock_store::stored_as_text;
use serde::{Deserialize, Serialize};

/// The models a user or key is narrowed to. Patterns are canonical texts; what they mean, and whether one is well formed,
/// the crate that knows model names says. An empty list allows none; where there is no list, nothing is narrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelPatterns(BTreeSet<String>);

stored_as_text!([] ModelPatterns, |patterns| patterns.to_string(), |text| Ok(ModelPatterns::from_stored(text)));

impl ModelPatterns {
    /// The patterns, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The stored form: one TEXT, separated by one space, which no pattern holds.
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
