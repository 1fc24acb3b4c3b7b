//! The text of an API key: `pdk_<10 base62 key id>_<43 base62 secret><6 base62 CRC32>`.
//!
//! The key id is public and is what a request is looked up by. The secret holds 256 random bits. The check sum lets a
//! typing error, a cut or a made-up key be refused without asking the database, and secret scanners recognise a real one.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

const PREFIX: &str = "pdk_";
const ID_LEN: usize = 10;
const SECRET_LEN: usize = 43;
const CRC_LEN: usize = 6;
/// The length of every key.
const LEN: usize = PREFIX.len() + ID_LEN + 1 + SECRET_LEN + CRC_LEN;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed key: its form and check sum hold, which says nothing of whether anyone was given it.
#[derive(Clone)]
pub struct ApiKeyToken {
    text: SecretString,
}

/// The key does not have the form of one, or its check sum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed API key")]
pub struct MalformedKey;

impl ApiKeyToken {
    /// A new key from 256 bits of secret and 80 bits of which the key id is made.
    pub(crate) fn generate() -> Self {
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

    /// Checks form and check sum.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let bytes = text.as_bytes();
        let shaped = bytes.len() == LEN
            && text.starts_with(PREFIX)
            && bytes[PREFIX.len() + ID_LEN] == b'_'
            && bytes[PREFIX.len()..].iter().enumerate().all(|(i, byte)| i == ID_LEN || byte.is_ascii_alphanumeric());
        if !shaped {
            return Err(MalformedKey);
        }
        let (body, sum) = text.split_at(LEN - CRC_LEN);
        if check_sum(body) != sum {
            return Err(MalformedKey);
        }
        Ok(Self { text: text.into() })
    }

    /// Whether a credential has the prefix of a key, and so is verified as one.
    #[must_use]
    pub fn looks_like_key(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The public part.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.text.expose_secret()[PREFIX.len()..PREFIX.len() + ID_LEN]
    }

    /// What people see of a key in lists and logs: `pdk_<key id>`.
    #[must_use]
    pub fn prefix(&self) -> String {
        prefix_of(self.key_id())
    }

    /// The whole key: to hand to its owner once, never to log.
    #[must_use]
    pub fn plaintext(&self) -> &SecretString {
        &self.text
    }
}

/// `pdk_<key id>`.
#[must_use]
pub fn prefix_of(key_id: &str) -> String {
    format!("{PREFIX}{key_id}")
}

impl fmt::Debug for ApiKeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_...", self.prefix())
    }
}

/// The big-endian number in base 62, its lowest `len` digits: 43 hold 256 bits whole, 10 hold 59 of 80.
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
    fn a_new_key_reads_back_and_its_debug_shows_no_secret() {
        let token = ApiKeyToken::generate();
        let text = token.plaintext().expose_secret().to_owned();
        assert_eq!(text.len(), LEN);
        let again = ApiKeyToken::parse(&text).unwrap();
        assert_eq!(again.key_id(), token.key_id());
        assert!(!format!("{token:?}").contains(&text[LEN - 20..]));
    }

    /// A million in `make soak`, which takes a minute; the key id alone is what has to be unique.
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
        fn one_changed_character_is_noticed(at in 0..LEN, to in "[0-9A-Za-z_ ]") {
            let text = ApiKeyToken::generate().plaintext().expose_secret().to_owned();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(ApiKeyToken::parse(&changed).is_ok(), changed == text);
        }

        #[test]
        fn any_text_is_judged_without_panic(text in ".{0,80}") {
            let _ = ApiKeyToken::parse(&text);
        }

        #[test]
        fn base62_is_the_number(number: u64) {
            let digits = base62(&number.to_be_bytes(), 11);
            let back = digits.bytes().fold(0_u128, |n, d| {
                n * 62 + ALPHABET.iter().position(|a| *a == d).expect("in the alphabet") as u128
            });
            prop_assert_eq!(back, u128::from(number));
        }
    }
}
