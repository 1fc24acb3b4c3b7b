//! The JSON body of a management request, read when the handler asks for it.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{deserialize, revalidate::Revalidate, unique_keys::UniqueKeys};
use crate::http::{
    body::{BodyError, read_request_body},
    error::{ApiError, Kind},
    slot::evictable_while,
};

/// The largest body of an authenticated sender, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The largest body of an anonymous sender, in bytes.
const MAX_ANONYMOUS_BODY: usize = 16 << 10;
/// The longest time between two chunks of a body.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A body that has not been read yet. Reading it re-authenticates its sender after the last byte.
pub(crate) struct LazyBody(Request);

impl<S: Sync> FromRequest<S> for LazyBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Ok(Self(request))
    }
}

impl LazyBody {
    /// Reads the JSON object in the body.
    pub(crate) async fn json<T: DeserializeOwned>(self, sender: &mut impl Revalidate) -> Result<T, ApiError> {
        if !is_json(self.0.headers()) {
            let detail = "the body must be JSON, and say so: Content-Type: application/json";
            return Err(ApiError::new(Kind::UnsupportedMediaType, detail));
        }
        if self.0.headers().contains_key(header::CONTENT_ENCODING) {
            let detail = "the body must be sent as it is, without Content-Encoding";
            return Err(ApiError::new(Kind::UnsupportedMediaType, detail));
        }
        parse_object(&self.bytes(sender).await?)
    }

    /// Reads the JSON object in the body. A request without a body gives the default.
    pub(crate) async fn json_or_default<T>(self, sender: &mut impl Revalidate) -> Result<T, ApiError>
    where
        T: DeserializeOwned + Default,
    {
        if self.0.headers().contains_key(header::CONTENT_TYPE) {
            return self.json(sender).await;
        }
        if self.bytes(sender).await?.is_empty() {
            return Ok(T::default());
        }
        let detail = "the body must be JSON, and say so: Content-Type: application/json";
        Err(ApiError::new(Kind::UnsupportedMediaType, detail))
    }

    async fn bytes<R: Revalidate>(self, sender: &mut R) -> Result<Bytes, ApiError> {
        let bytes = read_whole(self.0, R::IS_AUTHENTICATED).await?;
        sender.revalidate().await?;
        Ok(bytes)
    }
}

/// Reads the body of a management request. Meanwhile the connection may be evicted.
async fn read_whole(request: Request, is_authenticated: bool) -> Result<Bytes, ApiError> {
    let (head, body) = request.into_parts();
    let limit = if is_authenticated { MAX_BODY } else { MAX_ANONYMOUS_BODY };
    let reading = timeout(BODY_TIMEOUT, read_request_body(&head.headers, body, limit, CHUNK_TIMEOUT, |_| Ok(())));
    let read = evictable_while(&head.extensions, reading).await;
    read.unwrap_or(Err(BodyError::TooSlow)).map_err(|error| error.for_limit(limit))
}

/// Extractor for anonymous requests that need no body. It reads a body that comes all the same, and
/// ignores it.
pub(crate) struct NoBody;

impl<S: Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read_whole(request, false).await.map(|_| Self)
    }
}

/// Whether `Content-Type` names JSON or a merge patch (RFC 7396), and comes once.
fn is_json(headers: &HeaderMap) -> bool {
    let mut media_types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = media_types.next().and_then(|value| value.to_str().ok()).filter(|_| media_types.next().is_none());
    media_type.and_then(|text| text.split(';').next()).is_some_and(|essence| {
        let essence = essence.trim();
        ["application/json", "application/merge-patch+json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
    })
}

fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let value: UniqueKeys = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::new(Kind::Malformed, format!("the body is not valid JSON: {error}")))?;
    deserialize::read(value.into()).map_err(ApiError::invalid)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[expect(dead_code, reason = "only its reading matters")]
        #[serde(default, deserialize_with = "deserialize::number")]
        limit: Option<i64>,
        #[expect(dead_code, reason = "only its reading matters")]
        #[serde(default, deserialize_with = "deserialize::parsed")]
        q: Option<String>,
    }

    #[rstest]
    #[case("{", Kind::Malformed)]
    #[case("", Kind::Malformed)]
    #[case("{\"limit\": \"5\"} x", Kind::Malformed)]
    #[case("{\"q\": \"\\ud800\"}", Kind::Malformed)]
    #[case("[]", Kind::Invalid)]
    #[case("{\"limit\": 5}", Kind::Invalid)]
    fn a_body_is_malformed_or_invalid(#[case] text: &str, #[case] kind: Kind) {
        assert_eq!(parse_object::<Example>(text.as_bytes()).unwrap_err().kind(), kind);
    }
}
