//! E-mail addresses in canonical form, so that all spellings of an address name the same user.

use std::fmt;

use paddock_store::stored_as_text;
use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

/// A canonical address: NFKC, lower case, an ASCII local part, and a domain in IDNA A-labels. At
/// most 254 bytes long (RFC 5321).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Email(String);

/// The reason why a text is not a valid address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// The `@` is missing, or the text before or after it.
    #[error("must have the form name@domain, as in ada@example.com")]
    Form,
    /// The part before the `@` contains an invalid character.
    #[error("may hold only ASCII letters, digits and . ! # $ % & ' * + / = ? ^ _ ` {{ | }} ~ - before the @")]
    LocalPart,
    /// The domain is invalid by the rules of IDNA.
    #[error("must end in a domain name, as in example.com")]
    Domain,
    /// The address is longer than 254 bytes, or its local part longer than 64.
    #[error("must be at most 254 bytes long, and at most 64 before the @")]
    TooLong,
}

stored_as_text!([] Email, |email| email.to_string(), |text| Ok(Email::parse(text)?));

impl Email {
    /// Parses and canonicalises an address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        if text.len() > 1024 {
            return Err(EmailError::TooLong);
        }
        let text: String = text.trim().nfkc().collect::<String>().to_lowercase();
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Form)?;
        if local.is_empty() || domain.is_empty() {
            return Err(EmailError::Form);
        }
        if !local.bytes().all(is_local_byte) || local.starts_with('.') || local.ends_with('.') || local.contains("..") {
            return Err(EmailError::LocalPart);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError::Domain)?;
        if domain.split('.').any(str::is_empty) {
            return Err(EmailError::Domain);
        }
        let email = format!("{local}@{domain}");
        if email.len() > 254 || local.len() > 64 {
            return Err(EmailError::TooLong);
        }
        Ok(Self(email))
    }

    /// Returns the canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether RFC 5322 allows the lower-case byte in a local part: `atext` or a dot.
fn is_local_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte)
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("Ada@Example.COM", "ada@example.com")]
    #[case::spaces_around(" ada@example.com\n", "ada@example.com")]
    #[case::full_width("ａｄａ@example.com", "ada@example.com")]
    #[case::idn("ada@bücher.example", "ada@xn--bcher-kva.example")]
    #[case::single_label("root@localhost", "root@localhost")]
    fn spellings_have_one_canonical_form(#[case] given: &str, #[case] canonical: &str) {
        assert_eq!(Email::parse(given).unwrap().as_str(), canonical);
    }

    #[rstest]
    #[case("", EmailError::Form)]
    #[case("ada", EmailError::Form)]
    #[case("@example.com", EmailError::Form)]
    #[case("a\u{200b}da@example.com", EmailError::LocalPart)]
    #[case("a\0da@example.com", EmailError::LocalPart)]
    #[case("аda@example.com", EmailError::LocalPart)] // a Cyrillic a
    #[case("ada..b@example.com", EmailError::LocalPart)]
    #[case("ada@exa mple.com", EmailError::Domain)]
    #[case("ada@example..com", EmailError::Domain)]
    fn an_invalid_address_is_rejected(#[case] given: &str, #[case] why: EmailError) {
        assert_eq!(Email::parse(given), Err(why));
    }

    #[test]
    fn a_long_local_part_is_rejected() {
        assert_eq!(Email::parse(&format!("{}@example.com", "a".repeat(65))), Err(EmailError::TooLong));
    }

    proptest! {
        /// A stored address parses to itself.
        #[test]
        fn a_canonical_address_is_its_own_canonical_form(local in "[a-zA-Z0-9.+ａ-ｚ]{1,12}", domain in "\\PC{1,12}") {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
                prop_assert!(email.as_str().is_ascii());
            }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = Email::parse(&text);
        }
    }
}
