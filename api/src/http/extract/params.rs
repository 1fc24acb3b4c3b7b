//! Path and query parameters.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use paddock_accounts::Violation;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::deserialize;
use crate::http::error::ApiError;

/// The query of a request. It is parsed when the handler asks for it.
pub(crate) struct Query(String);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(parts.uri.query().unwrap_or_default().to_owned()))
    }
}

impl Query {
    /// Parses the parameters. Fails with every parameter that is unknown, given twice or malformed.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let mut violations = Vec::new();
        let mut parameters = Map::new();
        for (name, value) in form_urlencoded::parse(self.0.as_bytes()).into_owned() {
            if value.chars().any(char::is_control) {
                violations.push(Violation::new(format!("?{name}"), "must not have control characters"));
            } else if parameters.insert(name.clone(), Value::String(value)).is_some() {
                violations.push(Violation::new(format!("?{name}"), "is given more than once"));
            }
        }
        match deserialize::read(Value::Object(parameters)) {
            Ok(read) if violations.is_empty() => return Ok(read),
            Ok(_) => {}
            Err(found) => violations.extend(found.into_iter().map(|violation| Violation {
                pointer: violation.pointer.replacen('/', "?", 1),
                detail: violation.detail.replacen("unknown field", "unknown parameter", 1),
            })),
        }
        Err(ApiError::invalid(violations))
    }
}

/// Extractor for requests without parameters. It rejects any query parameter.
pub(crate) struct NoQuery;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state).await?.read::<NoParameters>()?;
        Ok(Self)
    }
}

/// The number in a path such as `/users/{id}`.
pub(crate) struct Id(pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let number = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => deserialize::whole_number(&text),
            Err(_) => None,
        };
        number.map(Self).ok_or_else(|| ApiError::invalid(vec![Violation::new("{id}", "must be a whole number")]))
    }
}

/// Checks that a number lies within bounds. `pointer` names it in the problem.
pub(crate) fn within(pointer: &str, number: i64, low: i64, high: i64) -> Result<i64, ApiError> {
    if (low..=high).contains(&number) {
        return Ok(number);
    }
    Err(ApiError::invalid(vec![Violation::new(pointer, format!("must be {low} to {high}"))]))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::error::Kind;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parameters {
        #[serde(default, deserialize_with = "deserialize::number")]
        limit: Option<i64>,
        #[serde(default, deserialize_with = "deserialize::parsed")]
        q: Option<String>,
    }

    fn query(text: &str) -> Result<Parameters, ApiError> {
        Query(text.to_owned()).read()
    }

    #[test]
    fn parameters_are_decoded_and_typed() {
        let read = query("q=a%20b+c&limit=5").unwrap();
        assert_eq!((read.limit, read.q.as_deref()), (Some(5), Some("a b c")));
    }

    #[rstest]
    #[case("limt=5")]
    #[case("limit=five")]
    #[case("limit=%2B5")]
    #[case("limit=05")]
    #[case("limit=+5")]
    #[case("limit=-0")]
    #[case("limit=99999999999999999999")]
    #[case("limit=5&limit=6")]
    #[case("q=%00")]
    fn an_invalid_parameter_is_refused(#[case] text: &str) {
        assert_eq!(query(text).unwrap_err().kind(), Kind::Invalid);
    }
}
