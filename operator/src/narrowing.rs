//! What a spec takes away, although something in it is refused. Pure.
//!
//! A refused spec grants nothing, but the rights that it no longer lists end. Each function returns
//! at most the rights of `before`.

use paddock_accounts::types::{Limits, ModelPatterns};
use paddock_ollama::{ModelPattern, covers};

/// Returns the lower of each two limits.
pub(crate) fn narrower_limits(before: Limits, wanted: Limits) -> Limits {
    let lower = |before: Option<i64>, wanted: Option<i64>| [before, wanted].into_iter().flatten().min();
    Limits {
        requests_per_minute: lower(before.requests_per_minute, wanted.requests_per_minute),
        tokens_per_minute: lower(before.tokens_per_minute, wanted.tokens_per_minute),
        tokens_per_day: lower(before.tokens_per_day, wanted.tokens_per_day),
        tokens_per_month: lower(before.tokens_per_month, wanted.tokens_per_month),
        max_concurrent: lower(before.max_concurrent, wanted.max_concurrent),
    }
}

/// Returns the patterns of `before` that `wanted` still allows, the patterns of `wanted` that
/// `before` allows, and the denials of both. `None` allows every model. Patterns of `wanted` that
/// cannot be parsed are ignored.
pub(crate) fn narrower_models(before: Option<&ModelPatterns>, wanted: Option<&[String]>) -> Option<ModelPatterns> {
    let Some(wanted) = wanted else { return before.cloned() };
    let wanted: ModelPatterns =
        wanted.iter().filter_map(|text| ModelPattern::parse(text).ok()).map(|pattern| pattern.to_string()).collect();
    let Some(before) = before else { return Some(wanted) };
    let (old, new): (Vec<&str>, Vec<&str>) = (before.iter().collect(), wanted.iter().collect());
    let is_denial = |pattern: &&&str| pattern.starts_with('!');
    let kept = old.iter().filter(|pattern| is_denial(pattern) || covers(&new, &old, pattern));
    let added = new.iter().filter(|pattern| is_denial(pattern) || covers(&old, &new, pattern));
    Some(kept.chain(added).copied().collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn canonical(texts: &[&str]) -> ModelPatterns {
        texts.iter().map(|text| ModelPattern::parse(text).unwrap().to_string()).collect()
    }

    #[rstest]
    #[case::a_pattern_is_removed(Some(&["a", "b"][..]), Some(&["a", "x/y/z/a/b"][..]), Some(&["a"][..]))]
    #[case::nothing_is_added(Some(&["a"][..]), Some(&["a", "b"][..]), Some(&["a"][..]))]
    #[case::all_becomes_a_list(None, Some(&["a", "x/y/z/a/b"][..]), Some(&["a"][..]))]
    #[case::a_list_stays_if_all_are_wanted(Some(&["a"][..]), None, Some(&["a"][..]))]
    #[case::a_narrower_pattern(Some(&["*"][..]), Some(&["a:1b"][..]), Some(&["a:1b"][..]))]
    #[case::a_wider_pattern(Some(&["a:1b"][..]), Some(&["*"][..]), Some(&["a:1b"][..]))]
    #[case::a_denial(Some(&["*"][..]), Some(&["*", "!a"][..]), Some(&["*", "!a"][..]))]
    #[case::a_removed_denial_stays(Some(&["*", "!a"][..]), Some(&["*"][..]), Some(&["*", "!a"][..]))]
    #[case::nothing_is_wanted(Some(&["a"][..]), Some(&[][..]), Some(&[][..]))]
    fn models(#[case] before: Option<&[&str]>, #[case] wanted: Option<&[&str]>, #[case] expected: Option<&[&str]>) {
        let wanted: Option<Vec<String>> = wanted.map(|texts| texts.iter().map(ToString::to_string).collect());
        let narrower = narrower_models(before.map(canonical).as_ref(), wanted.as_deref());
        assert_eq!(narrower, expected.map(canonical));
    }

    #[test]
    fn limits() {
        let of = |per_minute, per_day| Limits {
            requests_per_minute: per_minute,
            tokens_per_day: per_day,
            ..Limits::default()
        };
        assert_eq!(narrower_limits(of(Some(5), None), of(Some(9), Some(1))), of(Some(5), Some(1)));
    }
}
