//! The limit that a request sets on the tokens of its response.

use super::{
    json::ValueKind,
    scan::{Object, Scanned},
};
use crate::{dialect::Dialect, endpoints::Endpoint};

impl Scanned<'_> {
    /// Returns the highest number of tokens that the response may have; `None` if the request sets
    /// no limit. In the native API, zero and negative numbers set none.
    #[must_use]
    pub fn max_output_tokens(&self, endpoint: &Endpoint) -> Option<u64> {
        if endpoint.dialect == Dialect::Ollama {
            return self.number(self.nested("options")?, "num_predict");
        }
        let known = endpoint.known_fields.map_or(&[][..], |fields| fields.top_level);
        let names = ["max_tokens", "max_output_tokens"].into_iter().filter(|name| known.contains(name));
        names.filter_map(|name| self.number(self.top_level(), name)).min()
    }

    /// Returns a member that is a positive number, rounded down.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and 0 is no limit"
    )]
    fn number(&self, object: &Object<'_>, key: &str) -> Option<u64> {
        let member = object.member(key).filter(|member| member.kind == ValueKind::Number)?;
        let number: f64 = self.value_of(member).parse().ok()?;
        Some(number as u64).filter(|number| *number > 0)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use rstest::rstest;

    use crate::{Lookup, lookup, request::scan};

    #[rstest]
    #[case::native("/api/chat", r#"{"options": {"num_predict": 7}}"#, Some(7))]
    #[case::native_endless("/api/chat", r#"{"options": {"num_predict": -1}}"#, None)]
    #[case::native_without("/api/generate", r#"{"max_tokens": 7}"#, None)]
    #[case::openai("/v1/chat/completions", r#"{"max_tokens": 1e3}"#, Some(1000))]
    #[case::openai_null("/v1/completions", r#"{"max_tokens": null}"#, None)]
    #[case::responses("/v1/responses", r#"{"max_output_tokens": 9, "max_tokens": 1}"#, Some(9))]
    #[case::anthropic("/v1/messages", r#"{"max_tokens": 5}"#, Some(5))]
    fn the_limit_of_each_dialect_is_found(#[case] path: &str, #[case] body: &str, #[case] limit: Option<u64>) {
        let Lookup::Served(endpoint) = lookup(&Method::POST, path) else { panic!("{path}") };
        let scanned = scan(body.as_bytes(), endpoint.known_fields.unwrap()).unwrap();
        assert_eq!(scanned.max_output_tokens(endpoint), limit);
    }
}
