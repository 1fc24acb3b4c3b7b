use std::{fs, panic::catch_unwind, path::Path};

use proptest::{prelude::*, sample::Index};
use rstest::rstest;

use super::*;

/// The inputs of a target's corpus, by the names of their files.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("an entry of the folder");
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a readable file"))
    };
    let mut corpus: Vec<_> = entries.map(read).collect();
    corpus.sort();
    corpus
}

#[rstest]
#[case("responses", chunking_does_not_change_a_response)]
#[case("bodies", bodies_are_scanned_as_serde_json_parses_them)]
#[case("names", every_form_of_a_name_parses_to_that_name)]
#[case("patterns", patterns_match_as_a_naive_matcher_does)]
fn corpus_has_the_property(#[case] target: &str, #[case] property: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 24, "{} inputs", corpus.len());
    for (name, input) in corpus {
        assert!(catch_unwind(|| property(&input)).is_ok(), "{name}");
    }
}

/// Texts that parsers treat in a special way.
const TOKENS: [&[u8]; 40] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b"/",
    b"*",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xe2\x84\xaa",
    b"\xc5\xbf",
    b"\\u0065",
    b"\\ud800",
    b"null",
    b"true",
    b"-0.1e+9",
    b"\"model\":\"m\"",
    b"\"model\":null",
    b"\"options\":{\"num_ctx\":1}",
    b"\"stream_options\":{\"include_usage\":false}",
    b"\"stream\":true",
    b"\"done\":true",
    b"\"error\":\"x\"",
    b"\"usage\":{\"prompt_tokens\":1}",
    b"\"choices\":[]",
    b"data: ",
    b"data: [DONE]\n\n",
    b"\n\n",
    b"event: x\n",
    b"https://",
    b"registry.ollama.ai/library/",
    b":latest",
    b"-cloud",
    b":local",
    b"@sha256:0",
];

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// Repeats a part at another place.
    Repeat(Index, usize, Index),
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        let part = |input: &Vec<u8>, at: &Index, length: usize| {
            let start = at.index(input.len() + 1);
            start..(start + length).min(input.len())
        };
        match self {
            Self::Replace(at, byte) => {
                if !input.is_empty() {
                    let at = at.index(input.len());
                    input[at] = *byte;
                }
            }
            Self::Remove(at, length) => {
                let removed = part(input, at, *length);
                input.drain(removed);
            }
            Self::Insert(at, text) => {
                let at = at.index(input.len() + 1);
                drop(input.splice(at..at, text.iter().copied()));
            }
            Self::Repeat(from, length, to) => {
                let repeated = input[part(input, from, *length)].to_vec();
                let to = to.index(input.len() + 1);
                drop(input.splice(to..to, repeated));
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let token = prop::sample::select(TOKENS.to_vec()).prop_map(<[u8]>::to_vec);
    let bytes = prop::collection::vec(any::<u8>(), 1..4);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), prop_oneof![3 => token, 1 => bytes]).prop_map(|(at, text)| Change::Insert(at, text)),
        (any::<Index>(), 1..60_usize, any::<Index>()).prop_map(|(from, length, to)| Change::Repeat(from, length, to)),
    ]
}

/// Inputs of a corpus, and the beginning of one followed by the end of another, with some changes.
fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let inputs: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
    let cuts = prop::option::of((any::<Index>(), any::<Index>(), any::<Index>()));
    (any::<Index>(), cuts, prop::collection::vec(change(), 0..8)).prop_map(move |(first, cuts, changes)| {
        let mut input = first.get(&inputs).clone();
        if let Some((second, end, start)) = cuts {
            let second = second.get(&inputs);
            input.truncate(end.index(input.len() + 1));
            input.extend_from_slice(&second[start.index(second.len() + 1)..]);
        }
        for change in &changes {
            change.apply(&mut input);
        }
        input
    })
}

/// The number of inputs of each target: some minutes of them in `make soak`.
fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("PADDOCK_SOAK").is_some() { 300_000 } else { 2_000 };
    ProptestConfig::with_cases(cases)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn changed_responses_have_the_property(input in changed("responses")) {
        chunking_does_not_change_a_response(&input);
    }

    #[test]
    fn changed_bodies_have_the_property(input in changed("bodies")) {
        bodies_are_scanned_as_serde_json_parses_them(&input);
    }

    #[test]
    fn changed_names_have_the_property(input in changed("names")) {
        every_form_of_a_name_parses_to_that_name(&input);
    }

    #[test]
    fn changed_patterns_have_the_property(input in changed("patterns")) {
        patterns_match_as_a_naive_matcher_does(&input);
    }
}
