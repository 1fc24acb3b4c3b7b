use proptest::prelude::*;
use rstest::rstest;

use super::{model_name::DEFAULT_TAG, *};

/// The canonical form of a spelling.
fn canonical(text: &str) -> String {
    ModelName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[rstest]
#[case("smollm2")]
#[case("SmolLM2:latest")]
#[case("smollm2:LATEST")]
#[case("library/smollm2")]
#[case("Library/smollm2:latest")]
#[case("registry.ollama.ai/library/smollm2")]
#[case("https://Registry.Ollama.AI/library/smollm2:latest")]
#[case("HTTP://registry.ollama.ai/library/smollm2")]
fn spellings_of_one_model_parse_to_the_same_name(#[case] spelling: &str) {
    let name = ModelName::parse(spelling).expect("a name");
    assert_eq!(name.to_string(), "registry.ollama.ai/library/smollm2:latest");
    assert_eq!(name, ModelName::parse("smollm2").expect("a name"));
    assert_eq!(name.short(), "smollm2:latest");
}

#[rstest]
#[case("smollm2:135m", "smollm2:135m")]
#[case("me/tuned:Q4_1", "me/tuned:q4_1")]
#[case("hf.co/Org/Model-GGUF:Q4_K_M", "hf.co/org/model-gguf:q4_k_m")]
#[case("localhost:5000/library/m", "localhost:5000/library/m:latest")]
#[case("registry.ollama.ai/me/m:1", "me/m:1")]
fn short_omits_the_default_namespace_and_registry(#[case] spelling: &str, #[case] short: &str) {
    assert_eq!(ModelName::parse(spelling).expect("a name").short(), short);
}

#[test]
fn parts_are_canonical() {
    let name = ModelName::parse("http://Reg.example:5000/Team/Model:V1").expect("a name");
    assert_eq!(name.registry(), "reg.example:5000");
    assert_eq!((name.namespace(), name.model(), name.tag()), ("team", "model", "v1"));
}

#[rstest]
#[case("http://Reg.example:5000/Team/Model:V1", "Reg.example:5000/Team/Model:V1")]
#[case("smollm2", "registry.ollama.ai/library/smollm2:latest")]
fn as_written_keeps_the_case_of_the_spelling(#[case] spelling: &str, #[case] written: &str) {
    assert_eq!(ModelName::parse(spelling).expect("a name").as_written(), written);
}

#[rstest]
#[case("gpt-oss:cloud", true)]
#[case("gpt-oss:20b-cloud", true)]
#[case("gpt-oss:20B-Cloud", true)]
#[case("gpt-oss:20b:cloud", true)]
#[case("gpt-oss:20b:CLOUD", true)]
#[case("my-cloud", false)]
#[case("cloud", false)]
#[case("m:cloudy", false)]
#[case("cloud/m:1", false)]
fn cloud_models_are_recognized_by_their_tag(#[case] spelling: &str, #[case] cloud: bool) {
    assert_eq!(ModelName::parse(spelling).expect("a name").is_cloud(), cloud);
}

#[test]
fn both_cloud_suffixes_parse_to_the_same_name() {
    assert_eq!(canonical("gpt-oss:20b:cloud"), canonical("gpt-oss:20b-cloud"));
}

#[rstest]
#[case("", NameError::Empty)]
#[case(" smollm2", NameError::InvalidCharacter { part: Part::Model, character: ' ', position: 1 })]
#[case("smollm2 ", NameError::InvalidCharacter { part: Part::Model, character: ' ', position: 8 })]
#[case("smollm2:", NameError::EmptyPart(Part::Tag))]
#[case(":latest", NameError::EmptyPart(Part::Model))]
#[case("/m", NameError::EmptyPart(Part::Namespace))]
#[case("library/", NameError::EmptyPart(Part::Model))]
#[case("host//m", NameError::EmptyPart(Part::Namespace))]
#[case("/library/m", NameError::EmptyPart(Part::Registry))]
#[case("a/b/c/d", NameError::TooManyParts)]
#[case("-m", NameError::InvalidCharacter { part: Part::Model, character: '-', position: 1 })]
#[case("..", NameError::InvalidCharacter { part: Part::Model, character: '.', position: 1 })]
#[case("../../etc/passwd", NameError::TooManyParts)]
#[case("a.b/m", NameError::InvalidCharacter { part: Part::Namespace, character: '.', position: 2 })]
#[case("m*", NameError::InvalidCharacter { part: Part::Model, character: '*', position: 2 })]
#[case("m:a:b", NameError::InvalidCharacter { part: Part::Tag, character: ':', position: 2 })]
#[case("m\u{e9}", NameError::InvalidCharacter { part: Part::Model, character: 'é', position: 2 })]
#[case("m\0", NameError::InvalidCharacter { part: Part::Model, character: '\0', position: 2 })]
#[case("smollm2@sha256:0123", NameError::UnsupportedDigest)]
#[case("ftp://host/library/m", NameError::UnsupportedScheme)]
#[case("https://library/m", NameError::EmptyPart(Part::Registry))]
#[case("http:///library/m", NameError::EmptyPart(Part::Registry))]
#[case("m:local", NameError::LocalSuffix)]
#[case("m:8b:Local", NameError::LocalSuffix)]
#[case("m:local:cloud", NameError::LocalSuffix)]
fn invalid_names_are_rejected_with_the_reason(#[case] text: &str, #[case] error: NameError) {
    assert_eq!(ModelName::parse(text), Err(error));
}

fn letters(count: usize) -> String {
    "a".repeat(count)
}

/// A spelling with a registry and other parts of these lengths.
fn spelling(registry: usize, part: usize) -> String {
    format!("{}/{1}/{1}:{1}", letters(registry), letters(part))
}

#[test]
fn parts_may_have_their_maximum_length() {
    let longest = ModelName::parse(&spelling(350, 80)).expect("the longest name");
    assert_eq!((longest.registry().len(), longest.tag().len()), (350, 80));
}

#[rstest]
#[case(spelling(351, 80), Part::Registry)]
#[case(letters(81), Part::Model)]
#[case(format!("m:{}", letters(81)), Part::Tag)]
fn parts_above_their_maximum_length_are_rejected(#[case] text: String, #[case] part: Part) {
    assert_eq!(ModelName::parse(&text), Err(NameError::TooLong(part)));
}

#[test]
fn error_of_a_long_part_states_the_maximum() {
    let error = NameError::TooLong(Part::Tag).to_string();
    assert_eq!(error, "the tag of the model name is longer than 80 bytes");
}

/// Parses a name step by step as `ParseNameBare` and `ParseRef` of Ollama 0.32 do. Returns
/// registry, namespace, model and tag, or `None` if Ollama calls the name invalid.
fn parse_as_ollama(raw: &str) -> Option<[String; 4]> {
    const MISSING: &str = "!MISSING!";
    fn cut(text: &str, separator: char) -> (String, Option<String>) {
        let or_missing = |part: &str| if part.is_empty() { MISSING.to_owned() } else { part.to_owned() };
        match text.rsplit_once(separator) {
            None => (text.to_owned(), None),
            Some((before, after)) => (or_missing(before), Some(or_missing(after))),
        }
    }
    let raw = raw.trim();
    let lower = raw.to_ascii_lowercase();
    let without = |suffix: &str| lower.ends_with(suffix).then(|| raw[..raw.len() - suffix.len()].to_owned());
    let base = without(":local").or_else(|| {
        let base = without(":cloud")?;
        let has_tag = base.rfind(':') > base.rfind('/');
        Some(if has_tag { format!("{base}-cloud") } else { format!("{base}:cloud") })
    });
    let mut rest = base.unwrap_or_else(|| raw.to_owned());
    let mut tag = None;
    if rest.rfind(':') > rest.rfind('/') {
        (rest, tag) = cut(&rest, ':');
    }
    let (before, model) = cut(&rest, '/');
    let (namespace, registry) = if model.is_none() {
        (None, None)
    } else {
        match cut(&before, '/') {
            (before, None) => (Some(before), None),
            (before, namespace) => (namespace, Some(before)),
        }
    };
    let model = model.unwrap_or(rest);
    let registry = registry.map(|text| text.split_once("://").map_or(text.clone(), |(_, host)| host.to_owned()));
    let or = |part: Option<String>, default: &str| part.filter(|part| !part.is_empty()).unwrap_or(default.to_owned());
    let parts = [
        (or(registry, DEFAULT_REGISTRY), 350, "-_.:"),
        (or(namespace, DEFAULT_NAMESPACE), 80, "-_"),
        (model, 80, "-_."),
        (or(tag, DEFAULT_TAG), 80, "-_."),
    ];
    let is_valid = |(text, max_bytes, marks): &(String, usize, &str)| {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        (1..=*max_bytes).contains(&text.len())
            && text.starts_with(is_word)
            && text.chars().all(|letter| is_word(letter) || marks.contains(letter))
    };
    parts.iter().all(is_valid).then(|| parts.map(|(text, ..)| text.to_ascii_lowercase()))
}

proptest! {
    /// An accepted text names the same model in Ollama. A rejected text is invalid in Ollama too,
    /// or is one of the deliberate exceptions.
    #[test]
    fn parse_agrees_with_ollama(
        text in r"((https?|ftp)://)?([aB.:-]{0,4}/){0,3}[aB0._-]{0,4}(:[aB1.-]{0,3}|:local|:1-cloud){0,2}(:cloud)?[@ ]?"
    ) {
        let expected = parse_as_ollama(&text);
        match ModelName::parse(&text) {
            Ok(name) => {
                let parts = [name.registry(), name.namespace(), name.model(), name.tag()].map(str::to_owned);
                prop_assert!(expected.as_ref() == Some(&parts) || name.is_cloud(), "{:?} is {:?}", expected, name);
            }
            Err(error) => {
                let is_deliberate = matches!(error, NameError::UnsupportedScheme | NameError::LocalSuffix)
                    || text.ends_with(' ') || text.contains("///");
                prop_assert!(expected.is_none() || is_deliberate, "{:?}: {error}", expected);
            }
        }
    }

    #[test]
    fn every_form_of_a_name_parses_to_that_name(
        text in r"([a-zA-Z0-9_][a-zA-Z0-9._:-]{0,5}/)?([a-zA-Z0-9_-]{1,5}/)?[a-zA-Z0-9_.]{1,5}(:[a-zA-Z0-9._-]{1,5})?"
    ) {
        if let Ok(name) = ModelName::parse(&text) {
            for spelling in [name.as_str(), name.short(), name.as_written(), &text.to_uppercase()] {
                prop_assert_eq!(ModelName::parse(spelling), Ok(name.clone()));
            }
        }
    }

    #[test]
    fn parse_never_panics(text in any::<String>()) {
        let _ = ModelName::parse(&text);
    }
}
