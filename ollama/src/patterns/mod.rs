//! Patterns of model names, which state the models that a user or an API key may use.

use std::{fmt, str::FromStr};

use crate::names::{DEFAULT_NAMESPACE, DEFAULT_REGISTRY, ModelName, NameError, NameParts, Part, PartOffsets, join};

/// A pattern in a list of models that a user or an API key may use. It allows or denies the models
/// whose names match it.
///
/// A pattern is a name in which `*` matches any text within one part. An absent tag matches every
/// tag. An absent namespace or registry is the default one. The pattern `*` matches every model of
/// every registry. A pattern after `!` denies. `Display` writes the canonical form, which the
/// database stores: `registry.ollama.ai/library/smollm2:*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelPattern {
    canonical: String,
}

/// The canonical form of the pattern that matches every name.
const ALL_MODELS: &str = "*";
/// The first character of a pattern that denies.
const DENY: char = '!';

impl ModelPattern {
    /// Parses a pattern. It may have any spelling that a name may have, after an optional `!`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(DENY) {
            Some(denied) => Ok(Self { canonical: format!("{DENY}{}", Self::parse_names(denied)?) }),
            None => Ok(Self { canonical: Self::parse_names(text)? }),
        }
    }

    /// Parses a pattern of names into its canonical form.
    fn parse_names(text: &str) -> Result<String, NameError> {
        if text == ALL_MODELS {
            return Ok(ALL_MODELS.to_owned());
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
        Ok(canonical)
    }

    /// Returns the canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// Returns whether the pattern denies the models that it matches.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.canonical.starts_with(DENY)
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

/// Returns whether a list allows the model: an allowing pattern matches its name, and no denying
/// pattern matches it. The patterns must be in canonical form; any other text matches nothing. Does
/// not allocate.
pub fn allows<'a>(patterns: impl IntoIterator<Item = &'a str>, name: &ModelName) -> bool {
    let mut is_allowed = false;
    for pattern in patterns {
        match pattern.strip_prefix(DENY) {
            Some(denied) if matches(denied, name) => return false,
            Some(_) => {}
            None => is_allowed = is_allowed || matches(pattern, name),
        }
    }
    is_allowed
}

/// Returns whether a list is not empty and contains only denying patterns. Such a list allows no
/// model, which is probably a mistake of its author.
pub fn only_denies<'a>(patterns: impl IntoIterator<Item = &'a str>) -> bool {
    let mut patterns = patterns.into_iter().peekable();
    patterns.peek().is_some() && patterns.all(|pattern| pattern.starts_with(DENY))
}

/// Returns whether `list` allows every model that the list `narrower` allows by its element
/// `pattern`. All patterns must be in canonical form.
///
/// May return false although every model is allowed: two patterns of `list` that cover `pattern`
/// only together do not count.
#[must_use]
pub fn covers(list: &[&str], narrower: &[&str], pattern: &str) -> bool {
    if pattern.starts_with(DENY) {
        return true;
    }
    let is_denied = |denied: &str| narrower.iter().filter_map(denied_names).any(|narrower| includes(narrower, denied));
    list.iter().any(|allowed| includes(allowed, pattern))
        && list.iter().filter_map(denied_names).all(|denied| !intersects(denied, pattern) || is_denied(denied))
}

/// Returns whether two lists may allow a model together: an allowing pattern of each matches the same
/// name. Denying patterns are ignored. All patterns must be in canonical form.
#[must_use]
pub fn overlap(list: &[&str], other: &[&str]) -> bool {
    let allowing = |pattern: &&&str| !pattern.starts_with(DENY);
    list.iter()
        .filter(allowing)
        .any(|pattern| other.iter().filter(allowing).any(|of_other| intersects(pattern, of_other)))
}

/// Returns the names that a pattern denies; `None` if it allows.
fn denied_names<'a>(pattern: &&'a str) -> Option<&'a str> {
    pattern.strip_prefix(DENY)
}

/// Returns whether `pattern` matches every name that `narrower` matches.
///
/// A `*` in `narrower` stands for any text, so only a `*` in `pattern` can match it.
fn includes(pattern: &str, narrower: &str) -> bool {
    pattern == ALL_MODELS || (narrower != ALL_MODELS && all_parts(pattern, narrower, glob))
}

/// Returns whether some name matches both patterns. A text that is not a pattern matches no name.
fn intersects(a: &str, b: &str) -> bool {
    a == ALL_MODELS || b == ALL_MODELS || all_parts(a, b, globs_intersect)
}

/// Returns whether `test` holds for each part of two patterns that are not `*`.
fn all_parts(a: &str, b: &str, test: fn(&str, &str) -> bool) -> bool {
    let (Some(in_a), Some(in_b)) = (PartOffsets::find(a), PartOffsets::find(b)) else {
        return false;
    };
    test(in_a.model(a), in_b.model(b))
        && test(in_a.tag(a), in_b.tag(b))
        && test(in_a.namespace(a), in_b.namespace(b))
        && test(in_a.registry(a), in_b.registry(b))
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

/// Returns whether some text matches both globs.
///
/// Cell `j` of the row for `i` says whether the first `i` bytes of `a` and the first `j` bytes of
/// `b` have a common text.
fn globs_intersect(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut above: Vec<bool> = Vec::new();
    for i in 0..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        for j in 0..=b.len() {
            let by_star_of_a = i > 0 && a[i - 1] == b'*' && (above[j] || (j > 0 && row[j - 1]));
            let by_star_of_b = j > 0 && b[j - 1] == b'*' && (row[j - 1] || (i > 0 && above[j]));
            let by_same_byte = i > 0 && j > 0 && a[i - 1] == b[j - 1] && above[j - 1];
            row.push((i == 0 && j == 0) || by_star_of_a || by_star_of_b || by_same_byte);
        }
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests;
