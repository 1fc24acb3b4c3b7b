//! The rules for new passwords.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zxcvbn::{Score, feedback::Feedback, zxcvbn};

use crate::{error::Error, types::Violation};

/// The longest password, in bytes. A longer one is refused, never cut.
pub const MAX_PASSWORD_BYTES: usize = 512;
/// The lowest value of `PASSWORD_MIN_LENGTH`.
pub const PASSWORD_LOWEST_MINIMUM: usize = 8;
/// The highest value of `PASSWORD_MIN_LENGTH`.
pub const PASSWORD_HIGHEST_MINIMUM: usize = 128;
/// The default of `PASSWORD_MIN_LENGTH`: a password is the only factor.
pub const DEFAULT_PASSWORD_MIN_LENGTH: usize = 15;

/// Long passwords of every dictionary, without their spaces, signs and outer digits. zxcvbn finds the
/// shorter and more regular ones.
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
    /// From `PASSWORD_MIN_LENGTH`.
    #[must_use]
    pub fn new(min_length: usize) -> Self {
        Self { min_length: min_length.clamp(PASSWORD_LOWEST_MINIMUM, PASSWORD_HIGHEST_MINIMUM) }
    }

    /// Normalizes a password and checks it. `about` are facts about the user, which make a bad password.
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
            broken.push("is one that everybody tries; choose another".to_owned());
        } else if broken.is_empty() {
            broken.extend(guessed(password, about));
        }
        broken
    }
}

/// Normalizes a password, so that it does not depend on the keyboard; `None` if it is too long.
pub(crate) fn normalize(password: &SecretString) -> Option<SecretString> {
    let password = password.expose_secret();
    // Composing makes no text four times shorter, so that this one need not be looked at.
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

/// Why the password can be guessed in fewer than 10^8 tries, if it can.
fn guessed(password: &str, about: &[String]) -> Option<String> {
    let about: Vec<&str> = about.iter().map(String::as_str).chain(["paddock", "ollama"]).collect();
    let judged = zxcvbn(&with_few_substitutes(password), &about);
    if judged.score() >= Score::Three {
        return None;
    }
    let why = judged.feedback().and_then(Feedback::warning);
    let why = why.map(|why| format!(" ({})", why.to_string().trim_end_matches('.'))).unwrap_or_default();
    Some(format!("is too easy to guess{why}; several words that have nothing to do with each other are hard to"))
}

/// The password with no more than three of the signs that stand for letters, as in `p@$$word`, each as often as it likes.
///
/// zxcvbn tries all that they may stand for, one with another: with a dozen of them that takes seconds. Digits stay, because
/// they also make rows and dates, and alone stand for few letters.
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

    fn judge(password: &str) -> Result<SecretString, Error> {
        let about = ["ada.lovelace@example.com", "ada.lovelace", "example.com", "Ada Lovelace"].map(str::to_owned);
        PasswordPolicy::new(DEFAULT_PASSWORD_MIN_LENGTH).check("/password", &password.into(), &about)
    }

    #[rstest]
    #[case("correct horse battery")]
    #[case("violet harbour tangle 93")]
    #[case("9OPDSuZBbsTviCjeFOh1qoK5YgEA4dyLQuW9O3KdtXT")]
    #[case("пять жареных перепёлок на мосту")]
    #[case("Zwölf Boxkämpfer jagen")]
    fn what_is_hard_to_guess_is_taken(#[case] password: &str) {
        assert!(judge(password).is_ok(), "{:?}", judge(password).map(|_| ()));
    }

    #[rstest]
    #[case::short("xk4;Fw9?rT", "at least 15")]
    #[case::empty("", "at least 15")]
    #[case::nul("violet harbour\0tangle", "character 15 is U+0000")]
    #[case::line_end("violet harbour tangle\n", "character 22 is U+000A")]
    #[case::everybodys("To be, or not to be: that is the question", "everybody")]
    #[case::with_a_number("Password-Password-2026", "everybody")]
    #[case::row_of_keys("qwertyuiopasdfghjkl1", "everybody")]
    #[case::repeated("abcabcabcabcabcabc", "easy to guess")]
    #[case::one_character("aaaaaaaaaaaaaaaaaaaa", "easy to guess")]
    #[case::digits("123456789012345678", "easy to guess")]
    #[case::own_address("ada.lovelace@example.com", "easy to guess")]
    #[case::own_name("Ada LovelaceAda Lovelace", "easy to guess")]
    fn what_is_not_is_refused_by_its_rule(#[case] password: &str, #[case] rule: &str) {
        let refused = judge(password).unwrap_err();
        let Error::Invalid(violations) = &refused else { panic!("{refused:?}") };
        assert!(violations.iter().all(|violation| violation.pointer == "/password"), "{violations:?}");
        assert!(violations.iter().any(|violation| violation.detail.contains(rule)), "{violations:?}");
        assert!(password.is_empty() || !refused.to_string().contains(password), "{refused}");
    }

    #[test]
    fn its_length_has_two_bounds() {
        let words = "violet harbour tangle ";
        assert!(judge(&words.repeat(23)).is_ok());
        for long in [words.repeat(24), "x".repeat(10_000_000)] {
            assert!(judge(&long).unwrap_err().to_string().contains("512 bytes"));
        }
        // Composed, it fits.
        let marks = "e\u{301}vwtzq ".repeat(50);
        assert!(marks.len() > 449 && judge(&marks).is_ok());
        assert_eq!(PasswordPolicy::new(3).min_length, 8);
        assert_eq!(PasswordPolicy::new(1000).min_length, 128);
    }

    #[rstest]
    #[case::three_stay("p@$$w0rd! p@$$w0rd!", "p@$$w0rd! p@$$w0rd!")]
    #[case::the_fourth_does_not("@($+%+@", "@($---@")]
    #[case::digits_stay("0123456789 4@8", "0123456789 4@8")]
    fn few_signs_stand_for_letters(#[case] password: &str, #[case] judged: &str) {
        assert_eq!(with_few_substitutes(password), judged);
    }

    #[test]
    fn two_spellings_are_one_password() {
        let spelt = |text: &str| judge(text).unwrap().expose_secret().to_owned();
        assert_eq!(spelt("cafe\u{301} harbour tangle"), spelt("caf\u{e9} harbour tangle"));
    }
}
