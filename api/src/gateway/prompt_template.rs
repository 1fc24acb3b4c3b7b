//! Which prompt templates of users reach Ollama.
//!
//! A template is a program in Go's `text/template`, which Ollama executes. A short one can use all the
//! memory of Ollama, or never end. The templates of honest clients insert fields, and leave out text
//! where a field is empty. Only those pass.

/// The size of the prompt that a template may make, in bytes, if every field that it inserts were as
/// long as the whole request.
const MAX_PROMPT: usize = 32 << 20;

/// Whether a template only inserts fields, with conditions on fields, and cannot make a very long
/// prompt of a request of `request_bytes`.
pub(super) fn is_harmless(template: &str, request_bytes: usize) -> bool {
    let mut inserted = 0_usize;
    let mut rest = template;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((action, after)) = after.split_once("}}") else { return false };
        match Action::parse(action) {
            Some(Action::Insert) => inserted += 1,
            Some(Action::Condition) => {}
            None => return false,
        }
        rest = after;
    }
    inserted.saturating_mul(request_bytes) <= MAX_PROMPT
}

/// An action of a harmless template.
enum Action {
    /// `.Field`
    Insert,
    /// `if .Field`, `else if .Field`, `else` or `end`
    Condition,
}

impl Action {
    /// Parses the text between the braces. `None` for any other action.
    fn parse(text: &str) -> Option<Self> {
        // A hyphen removes the white space on its side.
        let text = text.strip_prefix('-').unwrap_or(text);
        let text = text.strip_suffix('-').unwrap_or(text);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words[..] {
            [field] if is_field(field) => Some(Self::Insert),
            ["else" | "end"] => Some(Self::Condition),
            ["if", field] | ["else", "if", field] if is_field(field) => Some(Self::Condition),
            _ => None,
        }
    }
}

/// Whether a word names a field of the request: `.Prompt`.
fn is_field(word: &str) -> bool {
    word.strip_prefix('.').is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_field("{{ .Prompt }}", true)]
    #[case::conditions(
        "{{- if .System }}<s>{{ .System }}</s>{{ else if .Suffix }}{{.Suffix}}{{ else }}-{{ end -}} {{ .Prompt }}",
        true
    )]
    #[case::text("Answer in French.", true)]
    #[case::an_endless_loop("{{range 9223372036854775807}}{{end}}", false)]
    #[case::a_loop_over_messages("{{ range .Messages }}{{ .Content }}{{ end }}", false)]
    #[case::a_variable(r#"{{$a := printf "%999999d" 1}}{{$a}}"#, false)]
    #[case::a_function("{{ len .Prompt }}", false)]
    #[case::a_pipeline("{{ .Prompt | printf }}", false)]
    #[case::a_nested_template(r#"{{ define "a" }}{{ template "a" }}{{ end }}"#, false)]
    #[case::no_end("{{ .Prompt", false)]
    #[case::a_comment("{{/* a */}}", false)]
    #[case::dot("{{ . }}", false)]
    fn only_fields_and_conditions_pass(#[case] template: &str, #[case] passes: bool) {
        assert_eq!(is_harmless(template, 1000), passes);
    }

    #[test]
    fn a_template_that_repeats_a_long_prompt_does_not_pass() {
        let template = "{{ .Prompt }}".repeat(1000);
        assert!(is_harmless(&template, 20_000));
        assert!(!is_harmless(&template, 1 << 20));
    }
}
