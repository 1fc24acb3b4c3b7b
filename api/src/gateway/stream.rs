//! The stream back to the client: the bytes of Ollama's response, metered and otherwise unchanged.

use std::{
    borrow::Cow,
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body::{Frame, SizeHint};
use paddock_ollama::{Endpoint, Meter, ResponseSummary};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    backends::BackendLease, error::error_of, headers, prompt_estimate::PromptEstimate, revocation::RevocationGuard,
    timeouts::Deadlines, upstream::UpstreamBody, usage::UsageGuard,
};
use crate::{config::Timeout, http::request_outcome::RequestOutcome};

/// How many bytes of a response that is not a stream are read before the client gets the head. If a
/// shorter response ends early, the client can still get an error status.
const MAX_HELD: usize = 1 << 20;

/// How a response is metered.
#[derive(Debug)]
pub(super) struct Metering {
    /// Whether the response is a stream.
    pub(super) is_stream: bool,
    /// Whether the usage is removed from the stream.
    pub(super) drop_usage: bool,
    /// The estimate of the prompt's tokens, for a response that does not report them.
    pub(super) prompt: PromptEstimate,
}

/// The deadlines and guards of a request, which live as long as its response.
pub(super) struct RequestGuards {
    pub(super) deadlines: Deadlines,
    pub(super) revocation: RevocationGuard,
    pub(super) usage: UsageGuard,
    pub(super) backend: BackendLease,
}

/// Builds the client's response from Ollama's response. Waits for the first chunk of a stream, or
/// for up to [`MAX_HELD`] bytes of any other response. Fails with the outcome of the request if
/// Ollama's response ends early during the wait.
pub(super) async fn respond(
    endpoint: &'static Endpoint,
    upstream: http::Response<UpstreamBody>,
    metering: Metering,
    guards: RequestGuards,
) -> Result<Response, RequestOutcome> {
    let RequestGuards { deadlines, revocation, usage, backend } = guards;
    let (head, upstream) = upstream.into_parts();
    let is_success = head.status.is_success();
    let (is_stream, now) = (metering.is_stream && is_success, Instant::now());
    let drop_usage = metering.drop_usage && is_success;
    let mut body = MeteredBody {
        // Without the usage, the body is shorter than Ollama announced.
        size: if drop_usage { SizeHint::default() } else { http_body::Body::size_hint(&upstream) },
        upstream: Some(upstream),
        meter: Some(Meter::new(endpoint, is_stream, drop_usage)),
        pending: VecDeque::new(),
        status: head.status,
        usage,
        prompt: metering.prompt,
        deadlines,
        last_chunk: now,
        timer: Box::pin(sleep_until(deadlines.chunk_deadline(now).0)),
        cancelled: Box::pin(revocation.token().clone().cancelled_owned()),
        revocation,
        _backend: backend,
    };
    if is_success {
        body.prefetch(if is_stream { 1 } else { MAX_HELD }).await?;
    }
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::to_client(head.headers);
    if drop_usage {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(response)
}

/// Ollama's response ended early, and the format of the response allows no error event. The server
/// must close the connection, so that the client does not take the response for complete.
#[derive(Debug, thiserror::Error)]
#[error("Ollama ended its response early")]
struct Truncated;

/// The body of the client's response. A drop before the end closes the connection to Ollama, so
/// Ollama stops generating.
struct MeteredBody {
    upstream: Option<UpstreamBody>,
    /// `None` after the end of the response.
    meter: Option<Meter>,
    /// Chunks to send before reading on.
    pending: VecDeque<Bytes>,
    /// The length that Ollama announced, if any.
    size: SizeHint,
    status: StatusCode,
    usage: UsageGuard,
    prompt: PromptEstimate,
    deadlines: Deadlines,
    last_chunk: Instant,
    timer: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    revocation: RevocationGuard,
    _backend: BackendLease,
}

/// The next event of Ollama's response.
enum Next {
    Chunk(Bytes),
    /// The response ended. The outcome is set if the gateway ended the response, or if the
    /// connection to Ollama broke.
    End(Option<RequestOutcome>),
}

impl MeteredBody {
    /// Reads until `limit` bytes wait for the client, or to the end of the response. Fails with the
    /// outcome if the response is incomplete.
    async fn prefetch(&mut self, limit: usize) -> Result<(), RequestOutcome> {
        let mut held = 0;
        while held < limit {
            match poll_fn(|cx| self.poll_next(cx)).await {
                Next::Chunk(chunk) => {
                    held += chunk.len();
                    self.accept(chunk);
                }
                Next::End(why) => {
                    let ended = self.finish(why, |outcome| error_of(outcome).status());
                    let outcome = ended.map_or(RequestOutcome::Complete, |ended| ended.outcome);
                    return match outcome {
                        RequestOutcome::Complete | RequestOutcome::UpstreamError => Ok(()),
                        incomplete => Err(incomplete),
                    };
                }
            }
        }
        Ok(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(Next::End(None)) };
        loop {
            match http_body::Body::poll_frame(Pin::new(&mut *upstream), cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    // The timer below is not polled while Ollama sends without a pause.
                    Ok(data) => {
                        return Poll::Ready(match self.deadlines.passed(Instant::now()) {
                            Some(timeout) => Next::End(Some(RequestOutcome::UpstreamTimeout(timeout))),
                            None => Next::Chunk(data),
                        });
                    }
                    // Trailers do not reach the client. Ollama sends none.
                    Err(_) => {}
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Next::End(Some(RequestOutcome::UpstreamIncomplete))),
                Poll::Ready(None) => return Poll::Ready(Next::End(None)),
                Poll::Pending => break,
            }
        }
        if self.cancelled.as_mut().poll(cx).is_ready() {
            let why = if self.revocation.is_revoked() { RequestOutcome::Revoked } else { RequestOutcome::Shutdown };
            return Poll::Ready(Next::End(Some(why)));
        }
        let timeout = ready!(self.poll_timer(cx));
        Poll::Ready(Next::End(Some(RequestOutcome::UpstreamTimeout(timeout))))
    }

    /// Returns the timeout that has passed. Resets the timer only when the timer fires, because a
    /// reset for each chunk would cost more.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Timeout> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let (due, timeout) = self.deadlines.chunk_deadline(self.last_chunk);
            if due <= Instant::now() {
                return Poll::Ready(timeout);
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn accept(&mut self, chunk: Bytes) {
        self.last_chunk = Instant::now();
        self.usage.record_first_byte();
        if let Some(meter) = &mut self.meter {
            self.pending.extend(meter.feed(chunk));
        }
    }

    /// Ends the response and records its usage once. `incomplete_status` returns the status to
    /// record for an incomplete response. Returns `None` if the response has already ended.
    fn finish(
        &mut self,
        why: Option<RequestOutcome>,
        incomplete_status: impl FnOnce(RequestOutcome) -> StatusCode,
    ) -> Option<Ended> {
        self.upstream = None;
        let mut summary = self.meter.take()?.finish();
        let span = self.usage.span();
        let _within = span.enter();
        let lacks_bytes = why == Some(RequestOutcome::UpstreamIncomplete) && self.size.exact().is_some();
        let outcome = match why {
            _ if !self.status.is_success() => RequestOutcome::UpstreamError,
            // The client still waits for the announced bytes, so the response is not complete.
            _ if lacks_bytes => RequestOutcome::UpstreamIncomplete,
            _ if summary.is_complete => RequestOutcome::Complete,
            _ if summary.error.is_some() => RequestOutcome::UpstreamError,
            Some(why) => why,
            None => RequestOutcome::UpstreamIncomplete,
        };
        if let Some(error) = &summary.error {
            tracing::warn!(error, "Ollama reported an error in its stream");
        }
        self.prompt.complete(&mut summary.usage);
        let tokens = self.status.is_success().then_some(&summary.usage);
        let status = match outcome {
            RequestOutcome::Complete | RequestOutcome::UpstreamError => self.status,
            incomplete => incomplete_status(incomplete),
        };
        self.usage.end(outcome, status, tokens);
        Some(Ended { outcome, summary })
    }

    /// Ends the response. If it is incomplete, queues an error event, so that the client does not
    /// take the response for complete. Returns [`Truncated`] if an event cannot be sent.
    fn end(&mut self, why: Option<RequestOutcome>) -> Result<(), Truncated> {
        let sent = self.status;
        let Some(Ended { outcome, summary }) = self.finish(why, |_| sent) else { return Ok(()) };
        let has_length = self.size.exact().is_some();
        let event = summary.error_event(event_status(outcome), &message(outcome), Some(outcome.text()));
        match event {
            Some(event) if !has_length && self.status.is_success() => {
                self.pending.push_back(event);
                Ok(())
            }
            // All announced bytes have arrived, or the response has its terminal frame.
            _ if why.is_none() || outcome == RequestOutcome::Complete => Ok(()),
            _ => Err(Truncated),
        }
    }
}

/// The end of a response.
struct Ended {
    outcome: RequestOutcome,
    summary: ResponseSummary,
}

const fn event_status(outcome: RequestOutcome) -> StatusCode {
    match outcome {
        RequestOutcome::Revoked => StatusCode::UNAUTHORIZED,
        RequestOutcome::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
        RequestOutcome::UpstreamTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn message(outcome: RequestOutcome) -> Cow<'static, str> {
    match outcome {
        RequestOutcome::Revoked => "the caller lost the permission; the response is not complete".into(),
        RequestOutcome::Shutdown => "the gateway is shutting down; the response is not complete".into(),
        RequestOutcome::UpstreamTimeout(timeout) => {
            format!("Ollama took longer than {}; the response is not complete", timeout.setting()).into()
        }
        _ => "Ollama ended its response early; the response is not complete".into(),
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        let this = &mut *self;
        loop {
            if let Some(chunk) = this.pending.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if this.meter.is_none() {
                return Poll::Ready(None);
            }
            match ready!(this.poll_next(cx)) {
                Next::Chunk(chunk) => this.accept(chunk),
                Next::End(why) => {
                    if let Err(truncated) = this.end(why) {
                        return Poll::Ready(Some(Err(truncated)));
                    }
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        // The server may drop a response of known length right after its last byte; `end` then
        // records a complete response. In every other case the client has disconnected.
        if self.meter.is_some() {
            let _ = self.end(Some(RequestOutcome::ClientGone));
        }
    }
}
