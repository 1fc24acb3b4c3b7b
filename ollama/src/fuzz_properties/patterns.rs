//! The patterns of model names, compared with a naive matcher.

use crate::{
    names::ModelName,
    patterns::{ModelPattern, allows, covers},
};

/// The input has three lines: a first pattern, a second pattern, and a name. The first pattern
/// allows the name if and only if a naive matcher matches it. With `!`, it denies the same name in
/// a list that allows all names. If the first pattern covers the second pattern, it allows every
/// name that the second pattern allows.
pub fn patterns_match_as_a_naive_matcher_does(lines: &[u8]) {
    let Ok(text) = str::from_utf8(lines) else { return };
    let mut lines = text.splitn(3, '\n');
    let mut next_pattern = || lines.next().and_then(|line| ModelPattern::parse(line).ok());
    let (pattern, narrower) = (next_pattern(), next_pattern());
    let Some(pattern) = pattern else { return };
    assert_eq!(ModelPattern::parse(pattern.as_str()).as_ref(), Ok(&pattern));
    let own = [pattern.as_str()];
    assert!(covers(&own, &own, own[0]), "{pattern} does not cover itself");
    let Some(name) = lines.next().and_then(|line| ModelName::parse(line).ok()) else { return };
    if let Some(denied) = pattern.as_str().strip_prefix('!') {
        let is_allowed = allows(["*", pattern.as_str()], &name);
        assert_eq!(is_allowed, !matches_naively(denied, name.as_str()), "{pattern} and {name}");
        return;
    }
    let is_matched = allows(own, &name);
    assert_eq!(is_matched, matches_naively(pattern.as_str(), name.as_str()), "{pattern} and {name}");
    assert_eq!(is_matched, covers(&own, &[name.as_str()], name.as_str()), "{pattern} and {name}");
    if let Some(narrower) = narrower
        && !narrower.denies()
        && covers(&own, &[narrower.as_str()], narrower.as_str())
        && allows([narrower.as_str()], &name)
    {
        assert!(is_matched, "{pattern} covers {narrower} and does not match {name}");
    }
}

fn matches_naively(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (Some(pattern), Some(name)) = (parts(pattern), parts(name)) else { return false };
    pattern.iter().zip(name).all(|(pattern, text)| matches_part(pattern.as_bytes(), text.as_bytes()))
}

/// The parts of a text of the form `registry/namespace/model:tag`.
fn parts(text: &str) -> Option<[&str; 4]> {
    let (registry, rest) = text.split_once('/')?;
    let (namespace, rest) = rest.split_once('/')?;
    let (model, tag) = rest.split_once(':')?;
    Some([registry, namespace, model, tag])
}

/// Matches one part by the set of positions that each byte of the pattern can reach.
fn matches_part(pattern: &[u8], text: &[u8]) -> bool {
    let mut is_reached = vec![false; text.len() + 1];
    is_reached[0] = true;
    for &byte in pattern {
        if byte == b'*' {
            for at in 0..text.len() {
                is_reached[at + 1] |= is_reached[at];
            }
        } else {
            for at in (0..text.len()).rev() {
                is_reached[at + 1] = is_reached[at] && text[at] == byte;
            }
            is_reached[0] = false;
        }
    }
    is_reached[text.len()]
}
