//! The stream back to the client: the bytes of Ollama's response, metered and otherwise unchanged.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use paddock_ollama::{Chunks, Endpoint, Meter};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{headers, revocation::RevocationGuard, usage::UsageGuard};
use crate::http::request_outcome::RequestOutcome;

/// When a response times out.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamDeadlines {
    /// The longest time between two chunks.
    pub(super) idle: Duration,
    /// When the whole response must have ended.
    pub(super) end: Instant,
}

/// How a response is metered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metering {
    /// Whether the response is a stream.
    pub(super) is_stream: bool,
    /// Whether the part of the stream that carries usage is kept from the client.
    pub(super) drop_usage: bool,
}

/// Builds the client's response from Ollama's.
pub(super) fn respond(
    endpoint: &'static Endpoint,
    upstream: http::Response<Incoming>,
    metering: Metering,
    deadlines: StreamDeadlines,
    revocation: RevocationGuard,
    usage: UsageGuard,
) -> Response {
    let (head, upstream) = upstream.into_parts();
    let is_success = head.status.is_success();
    let stream = MeteredBody {
        size: http_body::Body::size_hint(&upstream),
        upstream: Some(upstream),
        meter: Some(Meter::new(endpoint, metering.is_stream && is_success, metering.drop_usage && is_success)),
        pending: Chunks::new(),
        status: head.status,
        usage,
        deadlines,
        last_chunk: Instant::now(),
        timer: Box::pin(sleep_until(deadlines.end.min(Instant::now() + deadlines.idle))),
        cancelled: Box::pin(revocation.token().clone().cancelled_owned()),
        revocation,
    };
    let mut response = Response::new(Body::new(stream));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::to_client(head.headers);
    response
}

/// Ollama's response broke off, and the client's response has no place for an error event. The
/// connection must be closed, so that the client does not take the response for complete.
#[derive(Debug, thiserror::Error)]
#[error("the answer of Ollama broke off")]
struct Truncated;

/// The body of the client's response. Dropping it before its end drops Ollama's response, and
/// Ollama stops.
struct MeteredBody {
    upstream: Option<Incoming>,
    /// `None` after the end of the response.
    meter: Option<Meter>,
    /// Chunks to send before reading on, in reverse order.
    pending: Chunks,
    /// The length that Ollama announced, if any.
    size: SizeHint,
    status: StatusCode,
    usage: UsageGuard,
    deadlines: StreamDeadlines,
    last_chunk: Instant,
    timer: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    revocation: RevocationGuard,
}

/// The next event of Ollama's response.
enum Next {
    Chunk(Bytes),
    /// The response ended. The outcome is set if the gateway ended it or it broke off.
    End(Option<RequestOutcome>),
}

impl MeteredBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(Next::End(None)) };
        loop {
            match http_body::Body::poll_frame(Pin::new(&mut *upstream), cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    // The timer is not polled for a response that never pauses.
                    Ok(_) if self.deadlines.end <= Instant::now() => {
                        return Poll::Ready(Next::End(Some(RequestOutcome::UpstreamTimeout)));
                    }
                    Ok(data) => return Poll::Ready(Next::Chunk(data)),
                    // Trailers concern the connection to Ollama, which sends none.
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
        ready!(self.poll_timer(cx));
        Poll::Ready(Next::End(Some(RequestOutcome::UpstreamTimeout)))
    }

    /// Ready when a deadline has passed. The timer is reset only when it fires, not with each
    /// chunk.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.deadlines.end.min(self.last_chunk + self.deadlines.idle);
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn accept(&mut self, chunk: Bytes) {
        self.last_chunk = Instant::now();
        self.usage.record_first_byte();
        if let Some(meter) = &mut self.meter {
            self.pending = meter.feed(chunk);
            self.pending.reverse();
        }
    }

    /// Ends the response and records its usage. If the response is incomplete, queues an error
    /// event, so that the client does not take the response for complete. Returns [`Truncated`] if
    /// an event cannot be sent.
    fn end(&mut self, why: Option<RequestOutcome>) -> Result<(), Truncated> {
        self.upstream = None;
        let Some(meter) = self.meter.take() else { return Ok(()) };
        let span = self.usage.span();
        let _within = span.enter();
        let ended = meter.finish();
        let outcome = match why {
            _ if !self.status.is_success() => RequestOutcome::UpstreamError,
            _ if ended.is_complete => RequestOutcome::Complete,
            _ if ended.error.is_some() => RequestOutcome::UpstreamError,
            Some(why) => why,
            None => RequestOutcome::UpstreamIncomplete,
        };
        if let Some(error) = &ended.error {
            tracing::warn!(error, "Ollama reported an error in its stream");
        }
        let tokens = self.status.is_success().then_some(&ended.usage);
        self.usage.end(outcome, self.status, tokens);
        let has_length = self.size.exact().is_some();
        let event = ended.error_event(event_status(outcome), message(outcome), Some(outcome.text()));
        match event {
            Some(event) if !has_length && self.status.is_success() => {
                self.pending.push(event);
                Ok(())
            }
            // All announced bytes have arrived, or the response has marked its own end.
            _ if why.is_none() || outcome == RequestOutcome::Complete => Ok(()),
            _ => Err(Truncated),
        }
    }
}

const fn event_status(outcome: RequestOutcome) -> StatusCode {
    match outcome {
        RequestOutcome::Revoked => StatusCode::UNAUTHORIZED,
        RequestOutcome::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
        RequestOutcome::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

const fn message(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Revoked => "the right to this answer has ended; it is not complete",
        RequestOutcome::Shutdown => "the gateway is shutting down; the answer is not complete",
        RequestOutcome::UpstreamTimeout => "Ollama took too long; the answer is not complete",
        _ => "Ollama broke off; the answer is not complete",
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        let this = &mut *self;
        loop {
            if let Some(chunk) = this.pending.pop() {
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
        // The server may drop a response of known length right after its last byte; `end` counts
        // that one as complete. Otherwise the client has left.
        if self.meter.is_some() {
            let _ = self.end(Some(RequestOutcome::ClientGone));
        }
    }
}
