//! E-mail addresses in canonical form, so that two spellings of one address are one user.

use std::fmt;

use paddock_store::stored_as_text;
use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

/// A canonical address: NFKC, lower-cased, an ASCII local part and a domain in IDNA A-labels; at most 254 bytes (RFC 5321).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Email(String);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// No `@`, or nothing before or after it.
    #[error("must have the form name@domain, as in ada@example.com")]
    Form,
    /// A character that cannot stand before the `@`.
    #[error("may hold only ASCII letters, digits and . ! # $ % & ' * + / = ? ^ _ ` {{ | }} ~ - before the @")]
    LocalPart,
    /// A domain that IDNA refuses.
    #[error("must end in a domain name, as in example.com")]
    Domain,
    /// Longer than 254 bytes, or more than 64 before the `@`.
    #[error("must be at most 254 bytes long, and at most 64 before the @")]
    TooLong,
}

stored_as_text!([] Email, |email| email.to_string(), |text| Ok(Email::parse(text)?));

impl Email {
    /// Checks and canonicalises.
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

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 5322 `atext` and the dot, after lower-casing.
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
    fn spellings_of_one_address_are_one(#[case] given: &str, #[case] canonical: &str) {
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
    fn what_is_no_address_is_refused(#[case] given: &str, #[case] why: EmailError) {
        assert_eq!(Email::parse(given), Err(why));
    }

    #[test]
    fn a_long_one_is_refused() {
        assert_eq!(Email::parse(&format!("{}@example.com", "a".repeat(65))), Err(EmailError::TooLong));
    }

    proptest! {
        /// What is stored is read back by the same rule.
        #[test]
        fn a_canonical_address_is_its_own_canonical_form(local in "[a-zA-Z0-9.+ａ-ｚ]{1,12}", domain in "\\PC{1,12}") {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
                prop_assert!(email.as_str().is_ascii());
            }
        }

        #[test]
        fn any_text_is_judged_without_panic(text in ".{0,80}") {
            let _ = Email::parse(&text);
        }
    }
}
