//! Patterns of model names, which state the models that a user or an API key may use.

use std::{fmt, str::FromStr};

use crate::names::{DEFAULT_NAMESPACE, DEFAULT_REGISTRY, ModelName, NameError, NameParts, Part, PartOffsets, join};

/// A pattern of model names: a name in which `*` matches any text within one part.
///
/// An absent tag matches every tag. An absent namespace or registry is the default one. The pattern
/// `*` matches every model of every registry. `Display` writes the canonical form, which the
/// database stores: `registry.ollama.ai/library/smollm2:*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelPattern {
    canonical: String,
}

/// The canonical form of the pattern that matches every name.
const ALL_MODELS: &str = "*";

impl ModelPattern {
    /// Parses a pattern. It may have any spelling that a name may have.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == ALL_MODELS {
            return Ok(Self { canonical: ALL_MODELS.to_owned() });
        }
        let parts = NameParts::split(text, true)?;
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
            ALL_MODELS.clone_into(&mut canonical);
        }
        Ok(Self { canonical })
    }

    /// Returns the canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// Returns whether the pattern matches the name.
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

/// The stored patterns of a user or an API key, in canonical form.
///
/// `None` allows every model, and an empty list allows none. A text that is not a canonical pattern
/// matches nothing.
#[derive(Debug, Clone, Copy)]
pub struct AllowList<'a>(pub Option<&'a [String]>);

impl AllowList<'_> {
    /// Returns whether the list allows the model.
    #[must_use]
    pub fn allows(self, name: &ModelName) -> bool {
        self.0.is_none_or(|patterns| any_matches(patterns.iter().map(String::as_str), name))
    }
}

/// Returns whether `pattern` matches every name that `narrower` matches. Both must be in canonical
/// form.
///
/// A `*` in `narrower` stands for any text, so only a `*` in `pattern` can match it.
#[must_use]
pub fn covers(pattern: &str, narrower: &str) -> bool {
    if pattern == ALL_MODELS || narrower == ALL_MODELS {
        return pattern == ALL_MODELS;
    }
    let (Some(offsets), Some(inner)) = (PartOffsets::find(pattern), PartOffsets::find(narrower)) else {
        return false;
    };
    glob(offsets.model(pattern), inner.model(narrower))
        && glob(offsets.tag(pattern), inner.tag(narrower))
        && glob(offsets.namespace(pattern), inner.namespace(narrower))
        && glob(offsets.registry(pattern), inner.registry(narrower))
}

/// Returns whether any pattern matches the name. The patterns must be in canonical form. Does not
/// allocate.
pub fn any_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, name: &ModelName) -> bool {
    patterns.into_iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &ModelName) -> bool {
    if pattern == ALL_MODELS {
        return true;
    }
    let Some(offsets) = PartOffsets::find(pattern) else {
        return false;
    };
    glob(offsets.model(pattern), name.model())
        && glob(offsets.tag(pattern), name.tag())
        && glob(offsets.namespace(pattern), name.namespace())
        && glob(offsets.registry(pattern), name.registry())
}

/// Matches one part. A `*` matches any text, including the empty one.
///
/// On a mismatch only the last `*` is extended. This is sufficient, and bounds the number of steps
/// to the product of the lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut last_star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            last_star = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after_star, taken)) = last_star {
            last_star = Some((after_star, taken + 1));
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
