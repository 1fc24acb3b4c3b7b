//! The text of an API key: `pdk_<10 base62 key id>_<43 base62 secret><6 base62 CRC32>`.
//!
//! The key id is public, and requests look up the key by it. The secret has 256 random bits. The
//! check sum rejects mistyped, truncated and invented keys without reading the database, and lets
//! secret scanners recognise real keys.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

const PREFIX: &str = "pdk_";
const ID_LEN: usize = 10;
const SECRET_LEN: usize = 43;
const CRC_LEN: usize = 6;
/// The length of every key.
const LEN: usize = PREFIX.len() + ID_LEN + 1 + SECRET_LEN + CRC_LEN;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed key: its form and check sum are valid. It need not exist in the database.
#[derive(Clone)]
pub struct ApiKeyToken {
    text: SecretString,
}

/// The form or the check sum of the key is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed API key")]
pub struct MalformedKey;

impl ApiKeyToken {
    /// Generates a key with a secret of 256 random bits. The key id is derived from 80 random bits.
    #[must_use]
    pub fn generate() -> Self {
        let mut bits = [0_u8; 42];
        aws_lc_rs::rand::fill(&mut bits).expect("the operating system gives random bytes");
        let (id, secret) = bits.split_at(10);
        let mut text = String::with_capacity(LEN);
        text.push_str(PREFIX);
        text.push_str(&base62(id, ID_LEN));
        text.push('_');
        text.push_str(&base62(secret, SECRET_LEN));
        text.push_str(&check_sum(&text));
        Self { text: text.into() }
    }

    /// Parses a key. Fails if its form or check sum is invalid.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let bytes = text.as_bytes();
        let is_well_formed = bytes.len() == LEN
            && text.starts_with(PREFIX)
            && bytes[PREFIX.len() + ID_LEN] == b'_'
            && bytes[PREFIX.len()..].iter().enumerate().all(|(i, byte)| i == ID_LEN || byte.is_ascii_alphanumeric());
        if !is_well_formed {
            return Err(MalformedKey);
        }
        let (body, sum) = text.split_at(LEN - CRC_LEN);
        if check_sum(body) != sum {
            return Err(MalformedKey);
        }
        Ok(Self { text: text.into() })
    }

    /// Whether a credential has the prefix of an API key.
    #[must_use]
    pub fn looks_like_key(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Returns the key id, which is public.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.text.expose_secret()[PREFIX.len()..PREFIX.len() + ID_LEN]
    }

    /// Returns `pdk_<key id>`, the form of the key in lists and logs.
    #[must_use]
    pub fn prefix(&self) -> String {
        prefix_of(self.key_id())
    }

    /// Returns the whole key. Give it to its owner once, and never log it.
    #[must_use]
    pub fn plaintext(&self) -> &SecretString {
        &self.text
    }
}

/// Returns `pdk_<key id>`.
#[must_use]
pub fn prefix_of(key_id: &str) -> String {
    format!("{PREFIX}{key_id}")
}

impl fmt::Debug for ApiKeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_...", self.prefix())
    }
}

/// Encodes the lowest `len` digits of a big-endian number in base 62. 43 digits represent all 256
/// bits of a secret; 10 digits represent 59 of the 80 bits of a key id.
fn base62(bytes: &[u8], len: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; len];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("a byte and a remainder below 62 divide to below 256");
            rest = value % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    String::from_utf8(digits).expect("the alphabet is ASCII")
}

fn check_sum(body: &str) -> String {
    base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CRC_LEN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_parses_and_its_debug_form_hides_the_secret() {
        let token = ApiKeyToken::generate();
        let text = token.plaintext().expose_secret().to_owned();
        assert_eq!(text.len(), LEN);
        let again = ApiKeyToken::parse(&text).unwrap();
        assert_eq!(again.key_id(), token.key_id());
        assert!(!format!("{token:?}").contains(&text[LEN - 20..]));
    }

    /// Generates a million keys in `make soak`, which takes a minute. Only the key id must be
    /// unique.
    #[test]
    fn no_two_keys_are_the_same() {
        let count = if std::env::var_os("PADDOCK_SOAK").is_some() { 1_000_000 } else { 50_000 };
        let mut ids = HashSet::with_capacity(count);
        let mut secrets = HashSet::with_capacity(count);
        for _ in 0..count {
            let token = ApiKeyToken::generate();
            let text = token.plaintext().expose_secret();
            assert!(ids.insert(token.key_id().to_owned()), "two keys have one id");
            assert!(
                secrets.insert(text[PREFIX.len() + ID_LEN + 1..LEN - CRC_LEN].to_owned()),
                "two keys have one secret"
            );
        }
    }

    proptest! {
        #[test]
        fn one_changed_character_is_detected(at in 0..LEN, to in "[0-9A-Za-z_ ]") {
            let text = ApiKeyToken::generate().plaintext().expose_secret().to_owned();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(ApiKeyToken::parse(&changed).is_ok(), changed == text);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = ApiKeyToken::parse(&text);
        }

        #[test]
        fn base62_encodes_the_number(number: u64) {
            let digits = base62(&number.to_be_bytes(), 11);
            let back = digits.bytes().fold(0_u128, |n, d| {
                n * 62 + ALPHABET.iter().position(|a| *a == d).expect("in the alphabet") as u128
            });
            prop_assert_eq!(back, u128::from(number));
        }
    }
}
