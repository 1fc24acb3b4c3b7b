use proptest::prelude::*;
use rstest::rstest;

use super::*;

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
fn the_spellings_of_one_model_are_one_name(#[case] spelling: &str) {
    let name = ModelName::parse(spelling).expect("Ollama takes it");
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
fn a_name_is_printed_as_ollama_prints_it(#[case] spelling: &str, #[case] printed: &str) {
    assert_eq!(ModelName::parse(spelling).expect("a name").short(), printed);
}

#[test]
fn a_name_has_its_parts_and_keeps_the_case_a_registry_may_need() {
    let name = ModelName::parse("http://Reg.example:5000/Team/Model:V1").expect("a name");
    assert_eq!(name.registry(), "reg.example:5000");
    assert_eq!((name.namespace(), name.model(), name.tag()), ("team", "model", "v1"));
    assert_eq!(name.as_written(), "Reg.example:5000/Team/Model:V1");
    assert_eq!(ModelName::parse("smollm2").expect("a name").as_written(), canonical("smollm2"));
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
fn what_runs_in_the_cloud_is_known_by_its_tag(#[case] spelling: &str, #[case] cloud: bool) {
    assert_eq!(ModelName::parse(spelling).expect("a name").is_cloud(), cloud);
}

#[test]
fn both_cloud_spellings_are_one_name() {
    assert_eq!(canonical("gpt-oss:20b:cloud"), canonical("gpt-oss:20b-cloud"));
}

#[rstest]
#[case("", NameError::Empty)]
#[case(" smollm2", NameError::Character(Part::Model))]
#[case("smollm2 ", NameError::Character(Part::Model))]
#[case("smollm2:", NameError::Missing(Part::Tag))]
#[case(":latest", NameError::Missing(Part::Model))]
#[case("/m", NameError::Missing(Part::Namespace))]
#[case("library/", NameError::Missing(Part::Model))]
#[case("host//m", NameError::Missing(Part::Namespace))]
#[case("/library/m", NameError::Missing(Part::Registry))]
#[case("a/b/c/d", NameError::TooManyParts)]
#[case("-m", NameError::Character(Part::Model))]
#[case("..", NameError::Character(Part::Model))]
#[case("../../etc/passwd", NameError::TooManyParts)]
#[case("a.b/m", NameError::Character(Part::Namespace))]
#[case("m*", NameError::Character(Part::Model))]
#[case("m:a:b", NameError::Character(Part::Tag))]
#[case("m\u{e9}", NameError::Character(Part::Model))]
#[case("m\0", NameError::Character(Part::Model))]
#[case("smollm2@sha256:0123", NameError::Digest)]
#[case("ftp://host/library/m", NameError::Scheme)]
#[case("https://library/m", NameError::Missing(Part::Registry))]
#[case("http:///library/m", NameError::Missing(Part::Registry))]
#[case("m:local", NameError::LocalSuffix)]
#[case("m:8b:Local", NameError::LocalSuffix)]
#[case("m:local:cloud", NameError::LocalSuffix)]
fn what_is_no_name_is_refused_with_the_reason(#[case] text: &str, #[case] error: NameError) {
    assert_eq!(ModelName::parse(text), Err(error));
}

#[test]
fn each_part_has_ollamas_limit() {
    let long = |bytes| "a".repeat(bytes);
    let spelling = |registry, part: usize| format!("{}/{1}/{1}:{1}", long(registry), long(part));
    let longest = ModelName::parse(&spelling(350, 80)).expect("the longest name");
    assert_eq!((longest.registry().len(), longest.tag().len()), (350, 80));
    assert_eq!(ModelName::parse(&spelling(351, 80)), Err(NameError::TooLong(Part::Registry)));
    assert_eq!(ModelName::parse(&long(81)), Err(NameError::TooLong(Part::Model)));
    assert_eq!(ModelName::parse(&format!("m:{}", long(81))), Err(NameError::TooLong(Part::Tag)));
    let error = NameError::TooLong(Part::Tag).to_string();
    assert_eq!(error, "the tag of the model name is longer than 80 bytes");
}

/// Ollama's own reading, step by step after `ParseNameBare` and `ParseRef` of 0.32: registry, namespace, model and tag, or
/// none if it calls the name invalid.
fn as_ollama_reads(raw: &str) -> Option<[String; 4]> {
    const MISSING: &str = "!MISSING!";
    fn cut(text: &str, separator: char) -> (String, Option<String>) {
        let promised = |part: &str| if part.is_empty() { MISSING.to_owned() } else { part.to_owned() };
        match text.rsplit_once(separator) {
            None => (text.to_owned(), None),
            Some((before, after)) => (promised(before), Some(promised(after))),
        }
    }
    let raw = raw.trim();
    let lower = raw.to_ascii_lowercase();
    let without = |suffix: &str| lower.ends_with(suffix).then(|| raw[..raw.len() - suffix.len()].to_owned());
    let base = without(":local").or_else(|| {
        let base = without(":cloud")?;
        let explicit = base.rfind(':') > base.rfind('/');
        Some(if explicit { format!("{base}-cloud") } else { format!("{base}:cloud") })
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
    let valid = |(text, longest, marks): &(String, usize, &str)| {
        let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        (1..=*longest).contains(&text.len())
            && text.starts_with(word)
            && text.chars().all(|letter| word(letter) || marks.contains(letter))
    };
    parts.iter().all(valid).then(|| parts.map(|(text, ..)| text.to_ascii_lowercase()))
}

proptest! {
    /// Whatever is accepted, Ollama takes for the same model; what Ollama takes and is refused, is refused on purpose.
    #[test]
    fn a_name_is_what_ollama_takes_it_for(
        text in r"((https?|ftp)://)?([aB.:-]{0,4}/){0,3}[aB0._-]{0,4}(:[aB1.-]{0,3}|:local|:1-cloud){0,2}(:cloud)?[@ ]?"
    ) {
        let read = as_ollama_reads(&text);
        match ModelName::parse(&text) {
            Ok(name) => {
                let parts = [name.registry(), name.namespace(), name.model(), name.tag()].map(str::to_owned);
                prop_assert!(read.as_ref() == Some(&parts) || name.is_cloud(), "{:?} is {:?}", read, name);
            }
            Err(error) => {
                let on_purpose = matches!(error, NameError::Scheme | NameError::LocalSuffix)
                    || text.ends_with(' ') || text.contains("///");
                prop_assert!(read.is_none() || on_purpose, "{:?}: {error}", read);
            }
        }
    }

    #[test]
    fn canonical_and_printed_forms_are_spellings_of_the_name(
        text in r"([a-zA-Z0-9_][a-zA-Z0-9._:-]{0,5}/)?([a-zA-Z0-9_-]{1,5}/)?[a-zA-Z0-9_.]{1,5}(:[a-zA-Z0-9._-]{1,5})?"
    ) {
        if let Ok(name) = ModelName::parse(&text) {
            for spelling in [name.as_str(), name.short(), name.as_written(), &text.to_uppercase()] {
                prop_assert_eq!(ModelName::parse(spelling), Ok(name.clone()));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = ModelName::parse(&text);
    }
}
