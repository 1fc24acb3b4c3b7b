//! What a handler takes from a request, read when the handler asks for it: permission comes first.

use std::time::Duration;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::request::Parts,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use paddock_accounts::Violation;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{
    app::App,
    connections::lend,
    problem::{Kind, Problem},
    shape,
    unique_keys::UniqueKeys,
};

/// The most bytes of a management request's body.
const BODY_LIMIT: usize = 1 << 20;
/// The most of one that anybody may send, without a credential.
const STRANGERS_BODY_LIMIT: usize = 16 << 10;
/// The most bytes that are taken of a body that is not read, so that a client which still sends sees its answer.
pub(crate) const UNREAD_LIMIT: usize = 4 << 20;
/// How long the next piece of it may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How long all of it may take.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How long a body that nobody will read may take.
const DISCARD_PATIENCE: Duration = Duration::from_secs(3);

/// Who sends a body.
pub(crate) trait Sender {
    /// Whether a credential says who it is.
    const IS_KNOWN: bool;

    /// Goes on only if the sender may still do what it was allowed before: since then time has passed, as much as the client
    /// liked.
    fn still(&mut self) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// A body that has not been read yet. It is only had together with a judgement of its sender that is younger than its last
/// byte.
pub(crate) struct Unread(Request);

impl FromRequest<App> for Unread {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        Ok(Self(request))
    }
}

impl Unread {
    /// The JSON object in the body, as this type.
    pub(crate) async fn json<T: DeserializeOwned>(self, sender: &mut impl Sender) -> Result<T, Problem> {
        if !says_json(self.0.headers()) {
            let detail = "the body must be JSON, and say so: Content-Type: application/json";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        if self.0.headers().contains_key(header::CONTENT_ENCODING) {
            let detail = "the body must be sent as it is, without Content-Encoding";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        object(&self.bytes(sender).await?)
    }

    /// The same where the whole body may be left out.
    pub(crate) async fn json_if_any<T>(self, sender: &mut impl Sender) -> Result<T, Problem>
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
        Err(Problem::new(Kind::UnsupportedMediaType, detail))
    }

    async fn bytes<S: Sender>(self, sender: &mut S) -> Result<Bytes, Problem> {
        let bytes = whole(self.0, S::IS_KNOWN).await?;
        sender.still().await?;
        Ok(bytes)
    }
}

/// The body of a management request.
async fn whole(request: Request, is_known: bool) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    let limit = if is_known { BODY_LIMIT } else { STRANGERS_BODY_LIMIT };
    let reading = timeout(BODY_DEADLINE, read_body(body, limit, BODY_PATIENCE));
    lend(&head.extensions, reading).await.unwrap_or(Err(BodyError::TooSlow)).map_err(|error| match error {
        BodyError::TooLarge => Problem::new(Kind::TooLarge, format!("the body is larger than {limit} bytes")),
        BodyError::TooSlow => Problem::new(Kind::BodyTimeout, "the body did not come in time"),
        BodyError::Broken => Problem::new(Kind::Malformed, "the body broke off"),
    })
}

/// For a request of anybody's that needs no body: one that comes all the same says nothing.
pub(crate) struct NoBody;

impl FromRequest<App> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        whole(request, false).await.map(|_| Self)
    }
}

/// Whether the body is said to be JSON. A merge patch (RFC 7396) is.
fn says_json(headers: &HeaderMap) -> bool {
    let mut media_types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = media_types.next().and_then(|value| value.to_str().ok()).filter(|_| media_types.next().is_none());
    media_type.and_then(|text| text.split(';').next()).is_some_and(|essence| {
        let essence = essence.trim();
        ["application/json", "application/merge-patch+json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
    })
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: UniqueKeys = serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(Kind::Malformed, format!("the body is not valid JSON: {error}")))?;
    shape::read(value.into()).map_err(Problem::invalid)
}

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Reads a body whole. One that comes in one piece is not copied; one that is too large is read to its end all the same,
/// within reason, because a client that is still sending would not see the answer.
pub(crate) async fn read_body<B>(mut body: B, limit: usize, patience: Duration) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let read = collect(&mut body, limit, patience).await;
    if read == Err(BodyError::TooLarge) {
        discard(body, UNREAD_LIMIT.max(2 * limit)).await;
    }
    read
}

/// Takes the rest of a body, up to so many bytes, and drops it.
pub(crate) async fn discard<B>(mut body: B, limit: usize)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > limit {
                return;
            }
        }
    };
    // Whether it came to its end or not, the answer is the same.
    let _ = timeout(DISCARD_PATIENCE, all).await;
}

async fn collect<B>(body: &mut B, limit: usize, patience: Duration) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = timeout(patience, body.frame()).await.map_err(|_| BodyError::TooSlow)? {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            all.reserve(announced.max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The query of a request, unread.
pub(crate) struct Query(String);

impl FromRequestParts<App> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self(parts.uri.query().unwrap_or_default().to_owned()))
    }
}

impl Query {
    /// The parameters, as this type.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut violations = Vec::new();
        let mut parameters = Map::new();
        for (name, value) in form_urlencoded::parse(self.0.as_bytes()).into_owned() {
            if value.chars().any(char::is_control) {
                violations.push(Violation::new(format!("?{name}"), "must not have control characters"));
            } else if parameters.insert(name.clone(), Value::String(value)).is_some() {
                violations.push(Violation::new(format!("?{name}"), "is given more than once"));
            }
        }
        match shape::read(Value::Object(parameters)) {
            Ok(read) if violations.is_empty() => return Ok(read),
            Ok(_) => {}
            Err(found) => violations.extend(found.into_iter().map(|violation| Violation {
                pointer: violation.pointer.replacen('/', "?", 1),
                detail: violation.detail.replacen("unknown field", "unknown parameter", 1),
            })),
        }
        Err(Problem::invalid(violations))
    }
}

/// For a request that takes no parameters.
pub(crate) struct NoQuery;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl FromRequestParts<App> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Query::from_request_parts(parts, app).await?.read::<Nothing>()?;
        Ok(Self)
    }
}

/// The number in a path such as `/users/{id}`.
pub(crate) struct Id(pub(crate) i64);

impl FromRequestParts<App> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let number = match Path::<String>::from_request_parts(parts, app).await {
            Ok(Path(text)) => shape::whole_number(&text),
            Err(_) => None,
        };
        number.map(Self).ok_or_else(|| Problem::invalid(vec![Violation::new("{id}", "must be a whole number")]))
    }
}

/// A number within bounds.
pub(crate) fn within(pointer: &str, number: i64, low: i64, high: i64) -> Result<i64, Problem> {
    if (low..=high).contains(&number) {
        return Ok(number);
    }
    Err(Problem::invalid(vec![Violation::new(pointer, format!("must be {low} to {high}"))]))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use rstest::rstest;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parameters {
        #[serde(default, deserialize_with = "shape::number")]
        limit: Option<i64>,
        #[serde(default, deserialize_with = "shape::parsed")]
        q: Option<String>,
    }

    fn query(text: &str) -> Result<Parameters, Problem> {
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
    fn what_does_not_fit_is_refused(#[case] text: &str) {
        assert_eq!(query(text).unwrap_err().kind(), Kind::Invalid);
    }

    #[rstest]
    #[case("{", Kind::Malformed)]
    #[case("", Kind::Malformed)]
    #[case("{\"limit\": \"5\"} x", Kind::Malformed)]
    #[case("{\"q\": \"\\ud800\"}", Kind::Malformed)]
    #[case("[]", Kind::Invalid)]
    #[case("{\"limit\": 5}", Kind::Invalid)]
    fn a_body_is_malformed_or_wrong(#[case] text: &str, #[case] kind: Kind) {
        assert_eq!(object::<Parameters>(text.as_bytes()).unwrap_err().kind(), kind);
    }

    fn chunks(chunks: &'static [&'static str]) -> impl http_body::Body<Data = Bytes> + Unpin {
        StreamBody::new(stream::iter(chunks.iter().map(|chunk| Ok::<_, BodyError>(Frame::data((*chunk).into())))))
    }

    #[tokio::test]
    async fn a_body_is_read_whole_or_not_at_all() {
        let read = |body, limit| read_body(body, limit, Duration::from_secs(5));
        assert_eq!(read(chunks(&["ab", "cd", "e"]), 5).await.unwrap(), "abcde");
        assert_eq!(read(chunks(&[]), 5).await.unwrap(), "");
        assert_eq!(read(chunks(&["ab", "cd", "e"]), 4).await, Err(BodyError::TooLarge));
        let announced = read_body(Full::new(Bytes::from_static(b"abcde")), 4, Duration::from_secs(5));
        assert_eq!(announced.await, Err(BodyError::TooLarge));
    }
}
