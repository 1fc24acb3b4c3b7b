//! Properties that hold for every input. Each function panics if its input breaks one.
//!
//! The fuzz targets in `accounts/fuzz` look for such inputs. The tests try the targets' corpora.

use crate::{presented_credential::PresentedCredential, types::ApiKeyToken};

/// A text is accepted as a key only if every byte is right. A presented credential never shows the
/// secret of a key.
pub fn only_whole_keys_are_keys(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let presented = PresentedCredential::from(text);
    let Some(key_id) = presented.key_id() else {
        assert!(ApiKeyToken::parse(text).is_err(), "a key that is not taken for one");
        return;
    };
    let secret = text.strip_prefix(&format!("pdk_{key_id}_")).expect("a key begins with its public part");
    assert!(PresentedCredential::has_form(text));
    assert!(!format!("{presented:?}").contains(secret), "the secret is shown");
    for at in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
        let changed = String::from_utf8(changed).expect("a key is ASCII");
        assert_eq!(PresentedCredential::from(changed.as_str()).key_id(), None, "with another byte at {at}");
    }
    for changed in [&text[1..], &text[..text.len() - 1], &format!("{text} "), &format!(" {text}"), &text.repeat(2)] {
        assert_eq!(PresentedCredential::from(changed).key_id(), None, "of {} bytes", changed.len());
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, panic::catch_unwind, path::Path};

    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    /// The inputs of the corpus, by the names of their files.
    fn corpus() -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/credentials");
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap())
        };
        fs::read_dir(folder).unwrap().map(read).collect()
    }

    #[test]
    fn corpus_has_the_property() {
        let corpus = corpus();
        assert!(corpus.len() >= 24, "{} inputs", corpus.len());
        for (name, input) in corpus {
            assert!(catch_unwind(|| only_whole_keys_are_keys(&input)).is_ok(), "{name}");
        }
    }

    #[test]
    fn corpus_has_keys() {
        let is_key = |input: &[u8]| str::from_utf8(input).is_ok_and(|text| ApiKeyToken::parse(text).is_ok());
        assert!(corpus().iter().any(|(_, input)| is_key(input)));
    }

    /// The number of inputs: some minutes of them in `make soak`.
    fn cases() -> ProptestConfig {
        ProptestConfig::with_cases(if std::env::var_os("PADDOCK_SOAK").is_some() { 300_000 } else { 1_000 })
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn new_keys_have_the_property(before in "[ -~]{0,2}", after in "[ -~]{0,2}") {
            let key = ApiKeyToken::generate().plaintext().expose_secret().to_owned();
            only_whole_keys_are_keys(format!("{before}{key}{after}").as_bytes());
        }

        #[test]
        fn texts_have_the_property(text in "(pdk_)?[0-9A-Za-z_.-]{0,70}|.{0,80}") {
            only_whole_keys_are_keys(text.as_bytes());
        }
    }
}
