//! Patterns of model names: what a user or a key may use, written once in canonical form and matched on canonical names.

use std::fmt;
use std::str::FromStr;

use crate::names::{DEFAULT_NAMESPACE, DEFAULT_REGISTRY, Ends, ModelName, NameError, Part, Parts, join};

/// A pattern of model names: a name in which `*` stands for any text within one part.
///
/// An absent tag is every tag, an absent namespace or registry the default one, and `*` alone is every model of every
/// registry. `Display` writes the canonical form, which is what is stored: `registry.ollama.ai/library/smollm2:*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelPattern {
    canonical: String,
}

/// The canonical form of the pattern that every name matches.
const ALL: &str = "*";

impl ModelPattern {
    /// Reads a pattern in any spelling a name may have.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == ALL {
            return Ok(Self { canonical: ALL.to_owned() });
        }
        let parts = Parts::split(text, true)?;
        let tag = parts.tag.unwrap_or("*");
        Part::Tag.check(tag, true)?;
        let namespace = parts.namespace.unwrap_or(DEFAULT_NAMESPACE);
        let registry = parts.registry.unwrap_or(DEFAULT_REGISTRY);
        let (mut canonical, _) = join(registry, namespace, parts.model, tag);
        canonical.make_ascii_lowercase();
        while canonical.contains("**") {
            canonical = canonical.replace("**", "*");
        }
        if canonical == "*/*/*:*" {
            ALL.clone_into(&mut canonical);
        }
        Ok(Self { canonical })
    }

    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// Whether a model of this name is meant.
    #[must_use]
    pub fn matches(&self, name: &ModelName) -> bool {
        matches(&self.canonical, name)
    }
}

impl FromStr for ModelPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical)
    }
}

/// A stored list of patterns, in canonical form, as a user or a key carries it.
///
/// No list allows every model; an empty list allows none. A text that is not a canonical pattern matches nothing.
#[derive(Debug, Clone, Copy)]
pub struct ModelPatterns<'a>(pub Option<&'a [String]>);

impl ModelPatterns<'_> {
    /// Whether the list allows the model.
    #[must_use]
    pub fn allows(self, name: &ModelName) -> bool {
        self.0.is_none_or(|patterns| any_matches(patterns.iter().map(String::as_str), name))
    }
}

/// Whether the first pattern means every model that the second one means; both in canonical form.
///
/// A `*` of the second can be any text, so that only a `*` of the first takes it in.
#[must_use]
pub fn covers(pattern: &str, narrower: &str) -> bool {
    if pattern == ALL || narrower == ALL {
        return pattern == ALL;
    }
    let (Some(ends), Some(inner)) = (Ends::find(pattern), Ends::find(narrower)) else {
        return false;
    };
    glob(ends.model(pattern), inner.model(narrower))
        && glob(ends.tag(pattern), inner.tag(narrower))
        && glob(ends.namespace(pattern), inner.namespace(narrower))
        && glob(ends.registry(pattern), inner.registry(narrower))
}

/// Whether any of these patterns, in canonical form, matches the name. Nothing is allocated.
pub fn any_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, name: &ModelName) -> bool {
    patterns.into_iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &ModelName) -> bool {
    if pattern == ALL {
        return true;
    }
    let Some(ends) = Ends::find(pattern) else {
        return false;
    };
    glob(ends.model(pattern), name.model())
        && glob(ends.tag(pattern), name.tag())
        && glob(ends.namespace(pattern), name.namespace())
        && glob(ends.registry(pattern), name.registry())
}

/// Matches one part; every `*` stands for any text, the empty one too. On a mismatch only the last `*` is tried longer,
/// which is enough and bounds the work to the product of the lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after_star, taken)) = retry {
            retry = Some((after_star, taken + 1));
            p = after_star;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests;
