//! Free text such as display names, labels and external ids.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint},
};

use super::Violation;

/// The reason why a text is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is empty or too long.
    #[error("must be 1 to {0} characters long")]
    Length(usize),
    /// The text consists of spaces.
    #[error("must not be blank")]
    Blank,
    /// The text contains an invisible character, or a character that changes the look of other
    /// characters. With such a character, two different texts can look the same.
    #[error("must not have control, zero-width or text-direction characters; character {at} is U+{code:04X}")]
    Unseen {
        /// The position of the character, from 1.
        at: usize,
        /// The code point of the character.
        code: u32,
    },
}

/// Checks a text: 1 to `max` characters, not blank, and every character visible.
pub fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.is_empty() || text.chars().count() > max {
        return Err(TextError::Length(max));
    }
    if let Some((at, c)) = text.chars().enumerate().find(|(_, c)| is_invisible(*c)) {
        return Err(TextError::Unseen { at: at + 1, code: c.into() });
    }
    // The blank Braille pattern is not white space, but looks like it.
    if text.chars().all(|c| c.is_whitespace() || c == '\u{2800}') {
        return Err(TextError::Blank);
    }
    Ok(())
}

/// Checks an optional text, and returns the violation of its field.
pub(crate) fn find_violation(pointer: &str, text: Option<&str>, max: usize) -> Option<Violation> {
    let error = check(text?, max).err()?;
    Some(Violation::new(pointer, error.to_string()))
}

/// Whether a character is invisible: control characters, `Default_Ignorable_Code_Point`
/// (zero-width, direction and variation marks, fillers, tags), line and paragraph separators,
/// interlinear annotations, and noncharacters.
fn is_invisible(c: char) -> bool {
    matches!(
        CodePointMapData::<GeneralCategory>::new().get(c),
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator
    ) || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
        || matches!(c, '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Ada")]
    #[case("Łukasz Ó Dubhghaill, 李小龍 (🚀)")]
    #[case("a b")]
    fn visible_text_is_accepted(#[case] text: &str) {
        assert_eq!(check(text, 200), Ok(()));
    }

    #[rstest]
    #[case::empty("", TextError::Length(5))]
    #[case::long("abcdef", TextError::Length(5))]
    #[case::blank(" \u{a0} ", TextError::Blank)]
    #[case::blank_pattern("\u{2800}\u{2800}", TextError::Blank)]
    #[case::nul("a\0", TextError::Unseen { at: 2, code: 0 })]
    #[case::line_feed("a\n", TextError::Unseen { at: 2, code: 0xa })]
    #[case::c1("\u{85}a", TextError::Unseen { at: 1, code: 0x85 })]
    #[case::zero_width_space("a\u{200b}b", TextError::Unseen { at: 2, code: 0x200b })]
    #[case::joiner("a\u{200d}b", TextError::Unseen { at: 2, code: 0x200d })]
    #[case::right_to_left("a\u{202e}b", TextError::Unseen { at: 2, code: 0x202e })]
    #[case::isolate("a\u{2066}b", TextError::Unseen { at: 2, code: 0x2066 })]
    #[case::byte_order_mark("\u{feff}ab", TextError::Unseen { at: 1, code: 0xfeff })]
    #[case::soft_hyphen("a\u{ad}b", TextError::Unseen { at: 2, code: 0xad })]
    #[case::line_separator("a\u{2028}b", TextError::Unseen { at: 2, code: 0x2028 })]
    #[case::tag("a\u{e0061}b", TextError::Unseen { at: 2, code: 0xe0061 })]
    #[case::no_character("a\u{1ffff}b", TextError::Unseen { at: 2, code: 0x1_ffff })]
    fn an_invisible_character_is_rejected_and_named(#[case] text: &str, #[case] why: TextError) {
        assert_eq!(check(text, 5), Err(why));
    }

    /// Compares the property set with an explicit table of invisible characters.
    #[test]
    fn the_property_set_equals_the_table() {
        let is_in_table = |c: char| {
            c.is_control()
                || matches!(c,
                    '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
                    | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}'
                    | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
                    | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
                || u32::from(c) & 0xfffe == 0xfffe
        };
        let differing: Vec<char> = ('\0'..=char::MAX).filter(|c| is_in_table(*c) != is_invisible(*c)).collect();
        assert!(differing.is_empty(), "the property set and the table differ: {differing:?}");
    }

    #[test]
    fn a_violation_names_the_character() {
        let violation = find_violation("/label", Some("a\u{200b}"), 5).unwrap();
        assert_eq!(violation.pointer, "/label");
        assert!(violation.detail.contains("character 2 is U+200B"), "{}", violation.detail);
    }
}
