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
    let name = ModelName::parse(name).expect("a name");
    assert_eq!(ModelPattern::parse(pattern).expect("a pattern").matches(&name), matches);
}

fn is_allowed(patterns: Option<&[&str]>) -> bool {
    let name = ModelName::parse("smollm2:135m").expect("a name");
    let list: Option<Vec<String>> = patterns.map(|list| list.iter().map(|&text| text.to_owned()).collect());
    AllowList(list.as_deref()).allows(&name)
}

#[test]
fn absent_allow_list_allows_every_model() {
    assert!(is_allowed(None));
}

#[test]
fn empty_allow_list_allows_no_model() {
    assert!(!is_allowed(Some(&[])));
}

#[rstest]
#[case(&["registry.ollama.ai/library/x:*", "*"], true)]
#[case(&["registry.ollama.ai/library/x:*"], false)]
fn allow_list_allows_a_model_that_any_pattern_matches(#[case] patterns: &[&str], #[case] allowed: bool) {
    assert_eq!(is_allowed(Some(patterns)), allowed);
}

#[test]
fn patterns_that_are_not_canonical_match_nothing() {
    assert!(!is_allowed(Some(&["smollm2", "SMOLLM2:135M", "", "a/b"])));
}

proptest! {
    #[test]
    fn matching_agrees_with_a_naive_matcher(pattern in "[ab*]{1,8}", text in "[ab]{1,10}") {
        prop_assume!(ModelPattern::parse(&pattern).is_ok());
        let matched = ModelPattern::parse(&pattern).expect("a pattern").matches(&ModelName::parse(&text).expect("a name"));
        prop_assert_eq!(matched, matches_naively(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn covering_pattern_matches_every_name_of_the_narrower_one(pattern in "[ab*]{1,4}", narrower in "[ab*]{1,4}", text in "[ab]{1,4}") {
        let (pattern, narrower) = (ModelPattern::parse(&pattern).expect("one"), ModelPattern::parse(&narrower).expect("one"));
        let name = ModelName::parse(&text).expect("a name");
        if covers(pattern.as_str(), narrower.as_str()) && narrower.matches(&name) {
            prop_assert!(pattern.matches(&name));
        }
    }

    #[test]
    fn canonical_name_is_a_pattern_that_matches_the_name(name in "([a-z]{1,5}/)?[a-z0-9]{1,5}:[a-z0-9]{1,5}") {
        if let Ok(name) = ModelName::parse(&name) {
            let pattern = ModelPattern::parse(name.as_str()).expect("a name is a pattern");
            prop_assert_eq!(pattern.as_str(), name.as_str());
            prop_assert!(pattern.matches(&name));
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
#[case("*", "llama3.2", true)]
#[case("llama3.2", "*", false)]
#[case("llama3.2", "llama3.2:1b", true)]
#[case("llama3.2:1b", "llama3.2", false)]
#[case("llama*", "llama3*", true)]
#[case("llama3*", "llama*", false)]
#[case("*a*", "*bab*", true)]
#[case("team/*", "team/x:*", true)]
#[case("team/*", "*", false)]
#[case("team/*", "t*/x", false)]
#[case("localhost:5000/a/*", "localhost:5000/a/b*:latest", true)]
#[case("localhost:5000/a/*", "a/b", false)]
fn covers_compares_the_sets_of_names(#[case] pattern: &str, #[case] narrower: &str, #[case] covered: bool) {
    let canonical = |text: &str| ModelPattern::parse(text).unwrap();
    assert_eq!(covers(canonical(pattern).as_str(), canonical(narrower).as_str()), covered);
}
