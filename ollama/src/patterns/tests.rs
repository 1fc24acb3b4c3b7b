use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("*", "*")]
#[case("smollm2", "registry.ollama.ai/library/smollm2:*")]
#[case("SmolLM2:135M", "registry.ollama.ai/library/smollm2:135m")]
#[case("smollm*:*", "registry.ollama.ai/library/smollm*:*")]
#[case("me/*", "registry.ollama.ai/me/*:*")]
#[case("https://reg.example:5000/*/*", "reg.example:5000/*/*:*")]
#[case("*/*/*", "*")]
#[case("a**b:***", "registry.ollama.ai/library/a*b:*")]
fn a_pattern_has_one_canonical_form(#[case] text: &str, #[case] canonical: &str) {
    let pattern = ModelPattern::parse(text).expect("a pattern");
    assert_eq!(pattern.to_string(), canonical);
    assert_eq!(ModelPattern::parse(canonical), Ok(pattern));
}

#[rstest]
#[case("", NameError::Empty)]
#[case("m:", NameError::Missing(Part::Tag))]
#[case("m?", NameError::Character(Part::Model))]
#[case("[ab]", NameError::Character(Part::Model))]
#[case("a/b/c/d", NameError::TooManyParts)]
#[case("ftp://*/*/*", NameError::Scheme)]
fn what_is_no_pattern_is_refused(#[case] text: &str, #[case] error: NameError) {
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
fn a_star_stands_for_any_text_within_one_part(#[case] pattern: &str, #[case] name: &str, #[case] matched: bool) {
    let name = ModelName::parse(name).expect("a name");
    assert_eq!(ModelPattern::parse(pattern).expect("a pattern").matches(&name), matched);
}

#[test]
fn no_list_allows_all_and_an_empty_one_none() {
    let name = ModelName::parse("smollm2:135m").expect("a name");
    let list = |patterns: &[&str]| patterns.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    assert!(ModelPatterns(None).allows(&name));
    assert!(!ModelPatterns(Some(&[])).allows(&name));
    assert!(ModelPatterns(Some(&list(&["registry.ollama.ai/library/x:*", "*"]))).allows(&name));
    assert!(!ModelPatterns(Some(&list(&["registry.ollama.ai/library/x:*"]))).allows(&name));
    // Only canonical text is stored; anything else allows nothing.
    assert!(!ModelPatterns(Some(&list(&["smollm2", "SMOLLM2:135M", "", "a/b"]))).allows(&name));
}

proptest! {
    #[test]
    fn a_part_matches_as_the_regular_expression_would(pattern in "[ab*]{1,8}", text in "[ab]{1,10}") {
        prop_assume!(ModelPattern::parse(&pattern).is_ok());
        let matched = ModelPattern::parse(&pattern).expect("a pattern").matches(&ModelName::parse(&text).expect("a name"));
        prop_assert_eq!(matched, naive(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn what_a_pattern_takes_in_it_matches(pattern in "[ab*]{1,4}", narrower in "[ab*]{1,4}", text in "[ab]{1,4}") {
        let (pattern, narrower) = (ModelPattern::parse(&pattern).expect("one"), ModelPattern::parse(&narrower).expect("one"));
        let name = ModelName::parse(&text).expect("a name");
        if covers(pattern.as_str(), narrower.as_str()) && narrower.matches(&name) {
            prop_assert!(pattern.matches(&name));
        }
    }

    #[test]
    fn every_name_is_a_pattern_that_matches_itself(name in "([a-z]{1,5}/)?[a-z0-9]{1,5}:[a-z0-9]{1,5}") {
        if let Ok(name) = ModelName::parse(&name) {
            let pattern = ModelPattern::parse(name.as_str()).expect("a name is a pattern");
            prop_assert_eq!(pattern.as_str(), name.as_str());
            prop_assert!(pattern.matches(&name));
        }
    }
}

fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
        Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
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
fn a_pattern_takes_in_a_narrower_one(#[case] pattern: &str, #[case] narrower: &str, #[case] taken: bool) {
    let canonical = |text: &str| ModelPattern::parse(text).unwrap();
    assert_eq!(covers(canonical(pattern).as_str(), canonical(narrower).as_str()), taken);
}
