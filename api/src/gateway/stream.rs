//! Back to the client: the bytes of an answer, untouched and as they come.

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

use super::{
    headers,
    usage::{Outcome, Ticket},
    warden::Leash,
};

/// When an answer has taken too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Between two pieces.
    pub(crate) idle: Duration,
    /// All in all.
    pub(crate) end: Instant,
}

/// How an answer is metered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metering {
    pub(crate) streams: bool,
    pub(crate) drop_usage: bool,
}

/// The client's answer to Ollama's.
pub(crate) fn answer(
    endpoint: &'static Endpoint,
    upstream: http::Response<Incoming>,
    metering: Metering,
    limits: Limits,
    leash: Leash,
    ticket: Ticket,
) -> Response {
    let (head, upstream) = upstream.into_parts();
    let is_success = head.status.is_success();
    let stream = Answer {
        size: http_body::Body::size_hint(&upstream),
        upstream: Some(upstream),
        meter: Some(Meter::new(endpoint, metering.streams && is_success, metering.drop_usage && is_success)),
        pending: Chunks::new(),
        status: head.status,
        ticket,
        limits,
        last_piece: Instant::now(),
        alarm: Box::pin(sleep_until(limits.end.min(Instant::now() + limits.idle))),
        cut: Box::pin(leash.token().clone().cancelled_owned()),
        leash,
    };
    let mut response = Response::new(Body::new(stream));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::to_client(head.headers);
    response
}

/// The answer broke off and there is no way to say so within it: the connection must break too.
#[derive(Debug, thiserror::Error)]
#[error("the answer of Ollama broke off")]
struct Cut;

/// An answer on its way. Dropped before its end, it drops Ollama's, which then stops.
struct Answer {
    upstream: Option<Incoming>,
    /// Taken when the answer has ended.
    meter: Option<Meter>,
    /// Chunks to send before anything else, the last one first.
    pending: Chunks,
    /// The length that Ollama announced.
    size: SizeHint,
    status: StatusCode,
    ticket: Ticket,
    limits: Limits,
    last_piece: Instant,
    alarm: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    leash: Leash,
}

/// What the next look at Ollama's answer brought.
enum Next {
    Piece(Bytes),
    /// It ended, or this ended it.
    End(Option<Outcome>),
}

impl Answer {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(Next::End(None)) };
        loop {
            match http_body::Body::poll_frame(Pin::new(&mut *upstream), cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    // Asked here too, because an answer that never pauses never comes to the alarm.
                    Ok(_) if self.limits.end <= Instant::now() => {
                        return Poll::Ready(Next::End(Some(Outcome::UpstreamTimeout)));
                    }
                    Ok(data) => return Poll::Ready(Next::Piece(data)),
                    // Trailers, which Ollama has none of and which would speak of another connection.
                    Err(_) => {}
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Next::End(Some(Outcome::UpstreamIncomplete))),
                Poll::Ready(None) => return Poll::Ready(Next::End(None)),
                Poll::Pending => break,
            }
        }
        if self.cut.as_mut().poll(cx).is_ready() {
            let why = if self.leash.is_revoked() { Outcome::Revoked } else { Outcome::Shutdown };
            return Poll::Ready(Next::End(Some(why)));
        }
        ready!(self.poll_alarm(cx));
        Poll::Ready(Next::End(Some(Outcome::UpstreamTimeout)))
    }

    /// Ready when a clock has run out. It is set anew only when it rings, not with each piece.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let due = self.limits.end.min(self.last_piece + self.limits.idle);
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn take(&mut self, piece: Bytes) {
        self.last_piece = Instant::now();
        self.ticket.byte();
        if let Some(meter) = &mut self.meter {
            self.pending = meter.feed(piece);
            self.pending.reverse();
        }
    }

    /// Settles the ticket, and leaves an error event to be sent if the client would otherwise take the answer for whole.
    fn end(&mut self, why: Option<Outcome>) -> Result<(), Cut> {
        self.upstream = None;
        let Some(meter) = self.meter.take() else { return Ok(()) };
        let span = self.ticket.span();
        let _within = span.enter();
        let ended = meter.finish();
        let outcome = match why {
            _ if !self.status.is_success() => Outcome::UpstreamError,
            _ if ended.is_complete => Outcome::Complete,
            _ if ended.error.is_some() => Outcome::UpstreamError,
            Some(why) => why,
            None => Outcome::UpstreamIncomplete,
        };
        if let Some(error) = &ended.error {
            tracing::warn!(error, "Ollama told of an error within its answer");
        }
        let usage = self.status.is_success().then_some(&ended.usage);
        self.ticket.close(outcome, self.status, usage);
        let has_length = self.size.exact().is_some();
        let event = ended.error_event(event_status(outcome), message(outcome), Some(outcome.text()));
        match event {
            Some(event) if !has_length && self.status.is_success() => {
                self.pending.push(event);
                Ok(())
            }
            // All the bytes that were announced have come, or the answer has told of its end itself.
            _ if why.is_none() || outcome == Outcome::Complete => Ok(()),
            _ => Err(Cut),
        }
    }
}

const fn event_status(outcome: Outcome) -> StatusCode {
    match outcome {
        Outcome::Revoked => StatusCode::UNAUTHORIZED,
        Outcome::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
        Outcome::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

const fn message(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Revoked => "the right to this answer has ended; it is not complete",
        Outcome::Shutdown => "the gateway is shutting down; the answer is not complete",
        Outcome::UpstreamTimeout => "Ollama took too long; the answer is not complete",
        _ => "Ollama broke off; the answer is not complete",
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.pending.pop() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.meter.is_none() {
                return Poll::Ready(None);
            }
            match ready!(this.poll_next(cx)) {
                Next::Piece(piece) => this.take(piece),
                Next::End(why) => {
                    if let Err(cut) = this.end(why) {
                        return Poll::Ready(Some(Err(cut)));
                    }
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The server may drop an answer of known length with its last byte: that one is complete. Otherwise the client left.
        if self.meter.is_some() {
            let _ = self.end(Some(Outcome::ClientGone));
        }
    }
}
