//! The rules for new passwords.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zxcvbn::{Score, feedback::Feedback, zxcvbn};

use crate::{error::Error, types::Violation};

/// The longest password, in bytes. A longer password is rejected, never truncated.
pub const MAX_PASSWORD_BYTES: usize = 512;
/// The lowest value of `PASSWORD_MIN_LENGTH`.
pub const PASSWORD_LOWEST_MINIMUM: usize = 8;
/// The highest value of `PASSWORD_MIN_LENGTH`.
pub const PASSWORD_HIGHEST_MINIMUM: usize = 128;
/// The default of `PASSWORD_MIN_LENGTH`. It is long, because a password is the only factor of a
/// sign-in.
pub const DEFAULT_PASSWORD_MIN_LENGTH: usize = 15;

/// Common long passwords, without spaces, punctuation, and leading and trailing digits. zxcvbn
/// detects shorter and more regular passwords.
const COMMON_PASSWORDS: [&str; 24] = [
    "abcdefghijklmnopqrstuvwxyz",
    "administratorpassword",
    "adminadminadmin",
    "changemechangeme",
    "changethispassword",
    "defaultpassword",
    "iloveyouiloveyou",
    "letmeinletmein",
    "letmeinplease",
    "loremipsumdolorsitamet",
    "maytheforcebewithyou",
    "mypasswordispassword",
    "mysecretpassword",
    "nevergonnagiveyouup",
    "ollamaollamaollama",
    "openthepodbaydoorshal",
    "paddockpaddock",
    "passwordpassword",
    "qwertyuiopasdfghjkl",
    "qwertyuiopasdfghjklzxcvbnm",
    "supercalifragilisticexpialidocious",
    "thequickbrownfox",
    "thequickbrownfoxjumpsoverthelazydog",
    "tobeornottobethatisthequestion",
];

/// The rules for new passwords.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    min_length: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self::new(DEFAULT_PASSWORD_MIN_LENGTH)
    }
}

impl PasswordPolicy {
    /// Creates the policy from `PASSWORD_MIN_LENGTH`.
    #[must_use]
    pub fn new(min_length: usize) -> Self {
        Self { min_length: min_length.clamp(PASSWORD_LOWEST_MINIMUM, PASSWORD_HIGHEST_MINIMUM) }
    }

    /// Normalizes and checks a password. It must not be easy to guess from `about`, which are facts
    /// about the user. `pointer` names the field in an error.
    pub(crate) fn check(self, pointer: &str, password: &SecretString, about: &[String]) -> Result<SecretString, Error> {
        let Some(normal) = normalize(password) else {
            return Err(Error::invalid(pointer, format!("must be at most {MAX_PASSWORD_BYTES} bytes long")));
        };
        let broken = self.broken(normal.expose_secret(), about);
        if broken.is_empty() {
            return Ok(normal);
        }
        Err(Error::Invalid(broken.into_iter().map(|rule| Violation::new(pointer, rule)).collect()))
    }

    fn broken(self, password: &str, about: &[String]) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some((at, c)) = password.chars().enumerate().find(|(_, c)| c.is_control()) {
            broken.push(format!("must not have control characters; character {} is U+{:04X}", at + 1, u32::from(c)));
        }
        if password.chars().count() < self.min_length {
            broken.push(format!("must be at least {} characters long", self.min_length));
        }
        if is_common(password) {
            broken.push("is a common password; choose another".to_owned());
        } else if broken.is_empty() {
            broken.extend(weakness(password, about));
        }
        broken
    }
}

/// Normalizes a password to NFC, so that different input methods give the same hash; `None` if it
/// is too long.
pub(crate) fn normalize(password: &SecretString) -> Option<SecretString> {
    let password = password.expose_secret();
    // NFC never makes a text four times shorter, so this password would stay too long.
    if password.len() > 4 * MAX_PASSWORD_BYTES {
        return None;
    }
    let normal: String = password.nfc().collect();
    (normal.len() <= MAX_PASSWORD_BYTES).then(|| normal.into())
}

fn is_common(password: &str) -> bool {
    let folded: String = password.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    COMMON_PASSWORDS.contains(&folded.trim_matches(|c: char| c.is_ascii_digit()))
}

/// Describes why the password can be guessed in fewer than 10^8 attempts; `None` if it cannot.
fn weakness(password: &str, about: &[String]) -> Option<String> {
    let about: Vec<&str> = about.iter().map(String::as_str).chain(["paddock", "ollama"]).collect();
    let estimate = zxcvbn(&with_few_substitutes(password), &about);
    if estimate.score() >= Score::Three {
        return None;
    }
    let why = estimate.feedback().and_then(Feedback::warning);
    let why = why.map(|why| format!(" ({})", why.to_string().trim_end_matches('.'))).unwrap_or_default();
    Some(format!("is too easy to guess{why}; use several unrelated words"))
}

/// Limits a password to three different substitutes for letters, as in `p@$$word`. Replaces further
/// substitutes by `-`.
///
/// zxcvbn tries every combination of the letters that substitutes may stand for, which takes
/// seconds for a dozen different ones. Digits are kept, because they also form sequences and dates,
/// and stand for few letters.
fn with_few_substitutes(password: &str) -> String {
    const SUBSTITUTES: &str = "@({[<!|$+%";
    let mut kept = Vec::new();
    let keep = |c: char| {
        if SUBSTITUTES.contains(c) && !kept.contains(&c) {
            if kept.len() == 3 {
                return '-';
            }
            kept.push(c);
        }
        c
    };
    password.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn check(password: &str) -> Result<SecretString, Error> {
        let about = ["ada.lovelace@example.com", "ada.lovelace", "example.com", "Ada Lovelace"].map(str::to_owned);
        PasswordPolicy::new(DEFAULT_PASSWORD_MIN_LENGTH).check("/password", &password.into(), &about)
    }

    #[rstest]
    #[case("correct horse battery")]
    #[case("violet harbour tangle 93")]
    #[case("9OPDSuZBbsTviCjeFOh1qoK5YgEA4dyLQuW9O3KdtXT")]
    #[case("пять жареных перепёлок на мосту")]
    #[case("Zwölf Boxkämpfer jagen")]
    fn a_password_that_is_hard_to_guess_is_accepted(#[case] password: &str) {
        assert!(check(password).is_ok(), "{:?}", check(password).map(|_| ()));
    }

    #[rstest]
    #[case::short("xk4;Fw9?rT", "at least 15")]
    #[case::empty("", "at least 15")]
    #[case::nul("violet harbour\0tangle", "character 15 is U+0000")]
    #[case::line_end("violet harbour tangle\n", "character 22 is U+000A")]
    #[case::everybodys("To be, or not to be: that is the question", "common password")]
    #[case::with_a_number("Password-Password-2026", "common password")]
    #[case::row_of_keys("qwertyuiopasdfghjkl1", "common password")]
    #[case::repeated("abcabcabcabcabcabc", "easy to guess")]
    #[case::one_character("aaaaaaaaaaaaaaaaaaaa", "easy to guess")]
    #[case::digits("123456789012345678", "easy to guess")]
    #[case::own_address("ada.lovelace@example.com", "easy to guess")]
    #[case::own_name("Ada LovelaceAda Lovelace", "easy to guess")]
    fn a_weak_password_is_rejected_by_its_rule(#[case] password: &str, #[case] rule: &str) {
        let refused = check(password).unwrap_err();
        let Error::Invalid(violations) = &refused else { panic!("{refused:?}") };
        assert!(violations.iter().all(|violation| violation.pointer == "/password"), "{violations:?}");
        assert!(violations.iter().any(|violation| violation.detail.contains(rule)), "{violations:?}");
        assert!(password.is_empty() || !refused.to_string().contains(password), "{refused}");
    }

    #[test]
    fn the_length_has_two_bounds() {
        let words = "violet harbour tangle ";
        assert!(check(&words.repeat(23)).is_ok());
        for long in [words.repeat(24), "x".repeat(10_000_000)] {
            assert!(check(&long).unwrap_err().to_string().contains("512 bytes"));
        }
        // The password fits after normalization.
        let marks = "e\u{301}vwtzq ".repeat(50);
        assert!(marks.len() > 449 && check(&marks).is_ok());
        assert_eq!(PasswordPolicy::new(3).min_length, 8);
        assert_eq!(PasswordPolicy::new(1000).min_length, 128);
    }

    #[rstest]
    #[case::three_stay("p@$$w0rd! p@$$w0rd!", "p@$$w0rd! p@$$w0rd!")]
    #[case::the_fourth_does_not("@($+%+@", "@($---@")]
    #[case::digits_stay("0123456789 4@8", "0123456789 4@8")]
    fn only_three_substitutes_are_kept(#[case] password: &str, #[case] expected: &str) {
        assert_eq!(with_few_substitutes(password), expected);
    }

    #[test]
    fn two_unicode_forms_are_one_password() {
        let spelt = |text: &str| check(text).unwrap().expose_secret().to_owned();
        assert_eq!(spelt("cafe\u{301} harbour tangle"), spelt("caf\u{e9} harbour tangle"));
    }
}
