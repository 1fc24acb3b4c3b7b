//! Request bodies: read whole within a limit, or discarded.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{ApiError, Kind};

/// The least number of bytes of a body over its limit that are discarded. A client that is still
/// sending would not see the response otherwise.
const MIN_DISCARDED: usize = 4 << 20;
/// The time that a body of any size has, and the rate in bytes per second by which a larger body gets
/// more time.
/// A client that sends a byte from time to time would hold its memory for hours otherwise.
const BODY_GRACE: Duration = Duration::from_mins(1);
const MIN_BYTES_PER_SECOND: usize = 32 << 10;
/// When a client should send a body again for which there was no memory.
const MEMORY_RETRY: Duration = Duration::from_secs(5);
/// How long discarding may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
    /// Other bodies take the memory that the gateway has for bodies.
    OutOfMemory,
}

impl BodyError {
    /// Returns the error of the request. `limit` is the size limit with which the body was read.
    pub(crate) fn for_limit(self, limit: usize) -> ApiError {
        match self {
            Self::TooLarge => {
                ApiError::new(Kind::TooLarge, format!("the body is larger than {limit} bytes")).with_code("too_large")
            }
            Self::TooSlow => {
                ApiError::new(Kind::BodyTimeout, "the body did not come in time").with_code("body_timeout")
            }
            Self::Broken => ApiError::new(Kind::Malformed, "the body broke off").with_code("body_broken"),
            Self::OutOfMemory => {
                ApiError::new(Kind::Unavailable, "too many large bodies are being received; try again later")
                    .with_code("body_memory")
                    .with_retry_after(MEMORY_RETRY)
            }
        }
    }
}

/// Reads a whole body of at most `limit` bytes. `chunk_timeout` bounds the time between two chunks.
/// A body of one chunk is not copied.
pub(crate) async fn read_body<B>(mut body: B, limit: usize, chunk_timeout: Duration) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    collect(&mut body, limit, Timeouts::new(chunk_timeout), |_| Ok(())).await
}

/// Reads the whole body of a request. Discards a body that is too large. If `Content-Length`
/// already exceeds the limit, fails before it reads any byte. `grow` is called with the size of the
/// body before each chunk is kept, and may refuse it.
pub(crate) async fn read_request_body<B>(
    headers: &HeaderMap,
    mut body: B,
    limit: usize,
    chunk_timeout: Duration,
    grow: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    let read = collect(&mut body, limit, Timeouts::new(chunk_timeout), grow).await;
    if matches!(read, Err(BodyError::TooLarge | BodyError::OutOfMemory)) {
        discard_while_responding(headers, body, MIN_DISCARDED.max(2 * limit));
    }
    read
}

/// Reads and drops the rest of a refused request's body while the response is sent. Otherwise a
/// client that is still sending would not read the response. A client that waits for
/// `100 Continue` gets the refusal instead.
pub(crate) fn discard_while_responding<B>(headers: &HeaderMap, body: B, limit: usize)
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    if !headers.contains_key(header::EXPECT) {
        tokio::spawn(discard(body, limit));
    }
}

/// Reads and drops the rest of a body, up to `limit` bytes.
async fn discard<B>(mut body: B, limit: usize)
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
    // The response is the same whether or not the body came to its end.
    let _ = timeout(DISCARD_TIMEOUT, all).await;
}

/// How long a body may take.
struct Timeouts {
    /// Between two chunks.
    chunk: Duration,
    /// For the whole body, beside the time that its size allows.
    grace: Duration,
}

impl Timeouts {
    const fn new(chunk: Duration) -> Self {
        Self { chunk, grace: BODY_GRACE }
    }
}

async fn collect<B>(
    body: &mut B,
    limit: usize,
    timeouts: Timeouts,
    mut grow: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let began = Instant::now();
    loop {
        let received = first.len() + all.len();
        let slowest = Duration::from_secs((received / MIN_BYTES_PER_SECOND) as u64);
        let due = (Instant::now() + timeouts.chunk).min(began + timeouts.grace + slowest);
        let Some(frame) = timeout_at(due, body.frame()).await.map_err(|_| BodyError::TooSlow)? else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let size = received + data.len();
        if size > limit {
            return Err(BodyError::TooLarge);
        }
        grow(size)?;
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

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn chunks(chunks: &'static [&'static str]) -> impl http_body::Body<Data = Bytes> + Unpin {
        StreamBody::new(stream::iter(chunks.iter().map(|chunk| Ok::<_, BodyError>(Frame::data((*chunk).into())))))
    }

    #[tokio::test]
    async fn a_body_that_trickles_in_without_an_end_is_too_slow() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"a"))), ()))
        });
        let mut body = StreamBody::new(Box::pin(trickle));
        let timeouts = Timeouts { chunk: Duration::from_mins(5), grace: Duration::from_millis(50) };
        assert_eq!(collect(&mut body, 1 << 20, timeouts, |_| Ok(())).await, Err(BodyError::TooSlow));
    }

    #[tokio::test]
    async fn a_body_without_memory_is_refused() {
        let grow = |size| if size > 3 { Err(BodyError::OutOfMemory) } else { Ok(()) };
        let headers = HeaderMap::new();
        let read = read_request_body(&headers, chunks(&["ab", "cd"]), 9, Duration::from_secs(5), grow).await;
        assert_eq!(read, Err(BodyError::OutOfMemory));
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
