//! What a request used: a ticket that each admitted request holds, and the [`writer`] that stores what tickets say.

pub(crate) mod writer;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use metrics::{counter, gauge, histogram};
use paddock_accounts::{access::Principal, usage::UsageRecord};
use paddock_ollama::{Endpoint, ModelName, Usage};
use tokio::{sync::mpsc, time::Instant};
use tracing::Span;
use writer::Waiting;

use super::refusal::Refusal;
use crate::{app::App, origin::Origin};

/// How many notes may be waiting or reserved. Each open request holds one, so that its end always finds room.
const CAPACITY: usize = 16 * 1024;
/// What a client that left is noted with, as nginx does: it saw no status.
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer came to its end.
    Complete,
    /// The client left before that.
    ClientGone,
    /// Ollama's answer broke off.
    UpstreamIncomplete,
    /// Ollama answered with an error.
    UpstreamError,
    /// Ollama cannot be reached.
    UpstreamUnavailable,
    /// One of the clocks ran out.
    UpstreamTimeout,
    /// The principal lost the right to it.
    Revoked,
    /// The gateway was shut down.
    Shutdown,
}

impl Outcome {
    /// As it stands in usage, log and metrics.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Complete => "ok",
            Self::ClientGone => "client_gone",
            Self::UpstreamIncomplete => "upstream_incomplete",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a ticket says.
pub(crate) enum Note {
    /// It was admitted, and is under way.
    Began(UsageRecord),
    /// It has ended.
    Ended(UsageRecord),
}

/// Where records go.
pub(crate) struct Recorder {
    notes: mpsc::Sender<Note>,
    waiting: Arc<Waiting>,
}

/// The two ends; `waiting` is where records wait that the database does not take.
pub(crate) fn channel(waiting: Arc<Waiting>) -> (Recorder, mpsc::Receiver<Note>) {
    let (notes, receiver) = mpsc::channel(CAPACITY);
    (Recorder { notes, waiting }, receiver)
}

impl Recorder {
    /// Room for one more record.
    fn room(&self) -> Result<mpsc::OwnedPermit<Note>, Refusal> {
        if self.waiting.is_full() {
            return Err(Refusal::usage_full());
        }
        self.notes.clone().try_reserve_owned().map_err(|_| Refusal::usage_full())
    }

    fn began(&self, record: &UsageRecord) -> Result<(), Refusal> {
        self.notes.try_send(Note::Began(record.clone())).map_err(|_| Refusal::usage_full())
    }
}

/// An admitted request. However it ends, even dropped with its client, it leaves one record and one line in the log.
pub(crate) struct Ticket {
    /// Taken when it has ended.
    open: Option<Open>,
}

struct Open {
    room: mpsc::OwnedPermit<Note>,
    record: UsageRecord,
    endpoint: &'static str,
    started: Instant,
    ip: std::net::IpAddr,
    span: Span,
}

impl Ticket {
    /// Admits a request, if what it uses can be recorded. `started` is when it came in.
    pub(crate) fn open(
        app: &App,
        endpoint: &Endpoint,
        origin: &Origin,
        principal: &Principal,
        model: &ModelName,
        started: Instant,
    ) -> Result<Self, Refusal> {
        let room = app.gateway.recorder.room()?;
        let record = UsageRecord {
            usage_id: app.accounts.usage().new_id(),
            request_id: origin.id_text().to_owned(),
            user_id: principal.user_id,
            credential_id: principal.credential_id(),
            model: model.as_str().to_owned(),
            endpoint: endpoint.path.into(),
            prompt_tokens: None,
            completion_tokens: None,
            tokens_estimated: false,
            started_at: app.accounts.now() - started.elapsed(),
            first_byte_us: None,
            duration_us: 0,
            status: Outcome::ClientGone.text().into(),
            http_status: CLIENT_GONE.as_u16(),
        };
        app.gateway.recorder.began(&record)?;
        gauge!("paddock_gateway_in_flight").increment(1);
        let span = Span::current();
        Ok(Self { open: Some(Open { room, record, endpoint: endpoint.path, started, ip: origin.ip, span }) })
    }

    /// The span of the request, which lasts as long as this does.
    pub(crate) fn span(&self) -> Span {
        self.open.as_ref().map_or_else(Span::none, |open| open.span.clone())
    }

    /// A piece of the answer is on its way.
    pub(crate) fn byte(&mut self) {
        if let Some(open) = &mut self.open
            && open.record.first_byte_us.is_none()
        {
            open.record.first_byte_us = Some(micros(open.started.elapsed()));
        }
    }

    /// The request has ended. A second end counts for nothing.
    pub(crate) fn close(&mut self, outcome: Outcome, status: StatusCode, usage: Option<&Usage>) {
        if let Some(open) = self.open.take() {
            open.close(outcome, status, usage);
        }
    }

    /// The request ends without an answer of Ollama's.
    pub(crate) fn refused(mut self, outcome: Outcome, refusal: Refusal) -> Refusal {
        self.close(outcome, refusal.status(), None);
        refusal
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(Outcome::ClientGone, CLIENT_GONE, None);
    }
}

impl Open {
    fn close(self, outcome: Outcome, status: StatusCode, usage: Option<&Usage>) {
        let Self { room, mut record, endpoint, started, ip, span } = self;
        let _within = span.enter();
        let took = started.elapsed();
        record.duration_us = micros(took);
        record.status = outcome.text().into();
        record.http_status = status.as_u16();
        if let Some(usage) = usage {
            record.prompt_tokens = Some(i64::try_from(usage.prompt_tokens).unwrap_or(i64::MAX));
            record.completion_tokens = Some(i64::try_from(usage.completion_tokens).unwrap_or(i64::MAX));
            record.tokens_estimated = usage.is_estimated;
            counter!("paddock_gateway_tokens_total", "kind" => "prompt").increment(usage.prompt_tokens);
            counter!("paddock_gateway_tokens_total", "kind" => "completion").increment(usage.completion_tokens);
        }
        gauge!("paddock_gateway_in_flight").decrement(1);
        count(endpoint, status, outcome);
        histogram!("paddock_gateway_duration_seconds", "endpoint" => endpoint).record(took.as_secs_f64());
        if let Some(first) = record.first_byte_us.and_then(|us| u64::try_from(us).ok()) {
            let first = Duration::from_micros(first);
            histogram!("paddock_gateway_first_byte_seconds", "endpoint" => endpoint).record(first.as_secs_f64());
        }
        tracing::info!(
            %ip, model = record.model, endpoint, status = record.http_status,
            outcome = outcome.text(), prompt_tokens = record.prompt_tokens,
            completion_tokens = record.completion_tokens, estimated = record.tokens_estimated,
            first_byte_us = record.first_byte_us, duration_us = record.duration_us, "gateway request"
        );
        room.send(Note::Ended(record));
    }
}

/// Counts and logs an answer that uses no model.
pub(crate) fn note_unmetered(endpoint: &'static Endpoint, status: StatusCode, origin: &Origin, took: Duration) {
    count(endpoint.path, status, Outcome::Complete);
    histogram!("paddock_gateway_duration_seconds", "endpoint" => endpoint.path).record(took.as_secs_f64());
    tracing::info!(
        ip = %origin.ip, endpoint = endpoint.path, status = status.as_u16(),
        outcome = Outcome::Complete.text(), duration_us = micros(took), "gateway request"
    );
}

fn count(endpoint: &'static str, status: StatusCode, outcome: Outcome) {
    counter!(
        "paddock_gateway_requests_total",
        "endpoint" => endpoint, "status" => status.as_u16().to_string(), "outcome" => outcome.text()
    )
    .increment(1);
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
