use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn invalid(part: Part, character: char, position: usize) -> NameError {
    NameError::InvalidCharacter { part, character, position }
}

#[rstest]
#[case("*", "*")]
#[case("smollm2", "registry.ollama.ai/library/smollm2:*")]
#[case("SmolLM2:135M", "registry.ollama.ai/library/smollm2:135m")]
#[case("smollm*:*", "registry.ollama.ai/library/smollm*:*")]
#[case("me/*", "registry.ollama.ai/me/*:*")]
#[case("https://reg.example:5000/*/*", "reg.example:5000/*/*:*")]
#[case("*/*/*", "*")]
#[case("a**b:***", "registry.ollama.ai/library/a*b:*")]
#[case("!SmolLM2:135M", "!registry.ollama.ai/library/smollm2:135m")]
#[case("!*", "!*")]
#[case("!*/*/*", "!*")]
fn patterns_have_one_canonical_form(#[case] text: &str, #[case] canonical: &str) {
    let pattern = ModelPattern::parse(text).expect("a pattern");
    assert_eq!(pattern.to_string(), canonical);
    assert_eq!(ModelPattern::parse(canonical), Ok(pattern));
}

#[rstest]
#[case("", NameError::Empty)]
#[case("m:", NameError::EmptyPart(Part::Tag))]
#[case("m?", invalid(Part::Model, '?', 2))]
#[case("[ab]", invalid(Part::Model, '[', 1))]
#[case("a/b/c/d", NameError::TooManyParts)]
#[case("ftp://*/*/*", NameError::UnsupportedScheme)]
#[case("!", NameError::Empty)]
#[case("!!m", invalid(Part::Model, '!', 1))]
#[case("! m", invalid(Part::Model, ' ', 1))]
#[case("m!", invalid(Part::Model, '!', 2))]
fn invalid_patterns_are_rejected_with_the_reason(#[case] text: &str, #[case] error: NameError) {
    assert_eq!(ModelPattern::parse(text), Err(error));
}

#[rstest]
#[case("*", "reg.example/any/thing:1", true)]
#[case("smollm2", "smollm2:135m", true)]
#[case("smollm2", "smollm2-large:135m", false)]
#[case("smollm2:135m", "SMOLLM2:135M", true)]
#[case("smollm2:135m", "smollm2:latest", false)]
#[case("smol*2:1*m", "smollm2:135m", true)]
#[case("*", "me/m", true)]
#[case("*:latest", "m", true)]
#[case("*:latest", "me/m", false)]
#[case("me/*", "me/m:1", true)]
#[case("me/*", "reg.example/me/m:1", false)]
#[case("*/me/*", "reg.example:5000/me/m:1", true)]
#[case("*.example/*/*", "reg.example/me/m:1", true)]
#[case("*.example/*/*", "registry.ollama.ai/library/reg.example:1", false)]
fn star_matches_any_text_within_one_part(#[case] pattern: &str, #[case] name: &str, #[case] matches: bool) {
    assert_eq!(is_allowed(&[pattern], name), matches);
}

/// Whether a list of patterns in any spelling allows the model.
fn is_allowed(patterns: &[&str], name: &str) -> bool {
    let canonical = canonical(patterns);
    allows(canonical.iter().map(String::as_str), &ModelName::parse(name).expect("a name"))
}

/// The canonical forms, sorted as they are stored.
fn canonical(patterns: &[&str]) -> Vec<String> {
    let mut canonical: Vec<_> =
        patterns.iter().map(|text| ModelPattern::parse(text).expect("a pattern").to_string()).collect();
    canonical.sort();
    canonical
}

#[rstest]
#[case::empty(&[], "m", false)]
#[case::any_that_matches(&["x", "*"], "m", true)]
#[case::none_that_matches(&["x"], "m", false)]
#[case::all_but_one(&["*", "!secret"], "m", true)]
#[case::denied(&["*", "!secret"], "secret", false)]
#[case::denied_in_another_spelling(&["*", "!secret"], "Library/SECRET:v1", false)]
#[case::every_tag_is_denied(&["*", "!secret"], "secret:8b", false)]
#[case::one_tag_is_denied(&["*", "!secret:8b"], "secret:8b", false)]
#[case::other_tags_are_not(&["*", "!secret:8b"], "secret:1b", true)]
#[case::denied_by_a_star(&["*", "!*-uncensored"], "llama-uncensored:8b", false)]
#[case::other_namespace(&["*", "!secret"], "team/secret", true)]
#[case::denied_namespace(&["*", "!team/*"], "team/secret", false)]
#[case::denied_registry(&["*", "!evil.example/*/*"], "evil.example/a/b", false)]
#[case::deny_wins_over_the_same_pattern(&["m", "!m"], "m", false)]
#[case::deny_wins_over_a_narrower_pattern(&["m:8b", "!m"], "m:8b", false)]
#[case::deny_all(&["m", "!*"], "m", false)]
#[case::not_allowed_and_not_denied(&["m", "!x"], "y", false)]
#[case::only_denied(&["!x"], "y", false)]
fn list_allows_what_it_matches_and_does_not_deny(#[case] patterns: &[&str], #[case] name: &str, #[case] allowed: bool) {
    assert_eq!(is_allowed(patterns, name), allowed);
}

#[test]
fn patterns_that_are_not_canonical_match_nothing() {
    let name = ModelName::parse("smollm2:135m").expect("a name");
    assert!(!allows(["smollm2", "SMOLLM2:135M", "", "a/b"], &name));
    assert!(allows(["!smollm2", "!", "!a/b", "*"], &name));
}

#[rstest]
#[case(&[], false)]
#[case(&["*"], false)]
#[case(&["!m"], true)]
#[case(&["!m", "!n"], true)]
#[case(&["!m", "n"], false)]
fn list_of_denials_alone_is_recognized(#[case] patterns: &[&str], #[case] expected: bool) {
    assert_eq!(only_denies(canonical(patterns).iter().map(String::as_str)), expected);
}

proptest! {
    #[test]
    fn matching_agrees_with_a_naive_matcher(pattern in "[ab*]{1,8}", text in "[ab]{1,10}") {
        prop_assume!(ModelPattern::parse(&pattern).is_ok());
        prop_assert_eq!(is_allowed(&[&pattern], &text), matches_naively(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn covering_list_allows_every_model_of_the_narrower_one(
        list in prop::collection::vec("!?[ab*]{1,3}", 1..4),
        narrower in prop::collection::vec("!?[ab*]{1,3}", 1..4),
        text in "[ab]{1,4}",
    ) {
        let texts = |list: &[String]| canonical(&list.iter().map(String::as_str).collect::<Vec<_>>());
        let (list, narrower) = (texts(&list), texts(&narrower));
        let (list, narrower): (Vec<_>, Vec<_>) =
            (list.iter().map(String::as_str).collect(), narrower.iter().map(String::as_str).collect());
        let name = ModelName::parse(&text).expect("a name");
        let covered = narrower.iter().all(|pattern| covers(&list, &narrower, pattern));
        if covered && allows(narrower.iter().copied(), &name) {
            prop_assert!(allows(list, &name));
        }
    }

    #[test]
    fn globs_intersect_if_they_match_a_common_text(a in "[ab*]{0,4}", b in "[ab*]{0,4}", text in "[ab]{0,6}") {
        if matches_naively(a.as_bytes(), text.as_bytes()) && matches_naively(b.as_bytes(), text.as_bytes()) {
            prop_assert!(globs_intersect(&a, &b));
        }
        prop_assert_eq!(globs_intersect(&a, &text), matches_naively(a.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn canonical_name_is_a_pattern_that_matches_the_name(name in "([a-z]{1,5}/)?[a-z0-9]{1,5}:[a-z0-9]{1,5}") {
        if let Ok(name) = ModelName::parse(&name) {
            let pattern = ModelPattern::parse(name.as_str()).expect("a name is a pattern");
            prop_assert_eq!(pattern.as_str(), name.as_str());
            prop_assert!(allows([pattern.as_str()], &name));
        }
    }
}

fn matches_naively(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|taken| matches_naively(rest, &text[taken..])),
        Some((byte, rest)) => text.first() == Some(byte) && matches_naively(rest, &text[1..]),
    }
}

#[rstest]
#[case(&["*"], &["llama3.2"], true)]
#[case(&["llama3.2"], &["*"], false)]
#[case(&["llama3.2"], &["llama3.2:1b"], true)]
#[case(&["llama3.2:1b"], &["llama3.2"], false)]
#[case(&["llama*"], &["llama3*"], true)]
#[case(&["llama3*"], &["llama*"], false)]
#[case(&["*a*"], &["*bab*"], true)]
#[case(&["team/*"], &["team/x:*"], true)]
#[case(&["team/*"], &["*"], false)]
#[case(&["team/*"], &["t*/x"], false)]
#[case(&["localhost:5000/a/*"], &["localhost:5000/a/b*:latest"], true)]
#[case(&["localhost:5000/a/*"], &["a/b"], false)]
#[case::two_lists(&["a", "b"], &["b:1", "a:2"], true)]
#[case::denied_by_the_first_alone(&["*", "!secret"], &["*"], false)]
#[case::denied_by_both(&["*", "!secret"], &["*", "!secret"], true)]
#[case::denied_by_a_wider_pattern(&["*", "!secret"], &["*", "!s*"], true)]
#[case::denied_by_a_narrower_pattern(&["*", "!secret"], &["*", "!secret:8b"], false)]
#[case::apart_from_the_denied(&["*", "!secret"], &["llama3.2"], true)]
#[case::within_the_denied(&["*", "!s*"], &["secret"], false)]
#[case::across_the_denied(&["*", "!s*t"], &["*e*"], false)]
#[case::denied_tag(&["*", "!m:8b"], &["m:1b"], true)]
#[case::denied_registry(&["*", "!evil.example/*/*"], &["a", "team/*"], true)]
#[case::only_denied(&["m"], &["!m"], true)]
#[case::everything_denied(&["*", "!*"], &["m"], false)]
fn covers_compares_the_sets_of_names(#[case] list: &[&str], #[case] narrower: &[&str], #[case] covered: bool) {
    let (list, narrower) = (canonical(list), canonical(narrower));
    let (list, narrower): (Vec<_>, Vec<_>) =
        (list.iter().map(String::as_str).collect(), narrower.iter().map(String::as_str).collect());
    assert_eq!(narrower.iter().all(|pattern| covers(&list, &narrower, pattern)), covered);
}
