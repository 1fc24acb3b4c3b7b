//! The guard of an admitted request, which records its usage, metrics and log line once.

use std::{net::IpAddr, time::Duration};

use http::StatusCode;
use metrics::{counter, gauge, histogram};
use paddock_accounts::{Accounts, access::Principal, usage::UsageRecord};
use paddock_ollama::{Endpoint, ModelName, Usage};
use tokio::{sync::mpsc, time::Instant};
use tracing::Span;

use super::{
    outcome::RequestOutcome,
    recorder::{Recorder, UsageEvent},
};
use crate::http::{error::ApiError, request_context::RequestContext};

/// The status of a request whose client left before it got one, as nginx records it.
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// The request that a guard is for.
pub(crate) struct UsageRequest<'a> {
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) context: &'a RequestContext,
    pub(crate) principal: &'a Principal,
    pub(crate) model: &'a ModelName,
    /// When the request arrived.
    pub(crate) started: Instant,
}

/// Guards an admitted request. However the request ends, even dropped with its client, the guard
/// leaves one usage record and one log line.
pub(crate) struct UsageGuard {
    /// `None` after the end of the request.
    open: Option<OpenRequest>,
}

struct OpenRequest {
    permit: mpsc::OwnedPermit<UsageEvent>,
    record: UsageRecord,
    endpoint: &'static str,
    started: Instant,
    ip: IpAddr,
    span: Span,
}

impl UsageGuard {
    /// Begins to record a request. Fails if usage cannot be recorded now.
    pub(crate) fn begin(
        recorder: &Recorder,
        accounts: &Accounts,
        request: &UsageRequest<'_>,
    ) -> Result<Self, ApiError> {
        let UsageRequest { endpoint, context, principal, model, started } = *request;
        let permit = recorder.reserve()?;
        let record = UsageRecord {
            usage_id: accounts.usage().new_id(),
            request_id: context.id_text().to_owned(),
            user_id: principal.user_id,
            credential_id: principal.credential_id(),
            model: model.as_str().to_owned(),
            endpoint: endpoint.path.into(),
            prompt_tokens: None,
            completion_tokens: None,
            tokens_estimated: false,
            started_at: accounts.now() - started.elapsed(),
            first_byte_us: None,
            duration_us: 0,
            status: RequestOutcome::ClientGone.text().into(),
            http_status: CLIENT_GONE.as_u16(),
        };
        recorder.begin(&record)?;
        gauge!("paddock_gateway_in_flight").increment(1);
        let span = Span::current();
        Ok(Self { open: Some(OpenRequest { permit, record, endpoint: endpoint.path, started, ip: context.ip, span }) })
    }

    /// Returns the span of the request, which lives as long as the guard.
    pub(crate) fn span(&self) -> Span {
        self.open.as_ref().map_or_else(Span::none, |open| open.span.clone())
    }

    /// Records the time of the first byte. Later calls have no effect.
    pub(crate) fn record_first_byte(&mut self) {
        if let Some(open) = &mut self.open
            && open.record.first_byte_us.is_none()
        {
            open.record.first_byte_us = Some(micros(open.started.elapsed()));
        }
    }

    /// Ends the request. Later calls have no effect.
    pub(crate) fn end(&mut self, outcome: RequestOutcome, status: StatusCode, usage: Option<&Usage>) {
        if let Some(open) = self.open.take() {
            open.end(outcome, status, usage);
        }
    }

    /// Ends the request with an error of the gateway, and returns the error.
    pub(crate) fn fail(mut self, outcome: RequestOutcome, error: ApiError) -> ApiError {
        self.end(outcome, error.status(), None);
        error
    }
}

impl Drop for UsageGuard {
    fn drop(&mut self) {
        self.end(RequestOutcome::ClientGone, CLIENT_GONE, None);
    }
}

impl OpenRequest {
    fn end(self, outcome: RequestOutcome, status: StatusCode, usage: Option<&Usage>) {
        let Self { permit, mut record, endpoint, started, ip, span } = self;
        let _within = span.enter();
        let duration = started.elapsed();
        record.duration_us = micros(duration);
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
        histogram!("paddock_gateway_duration_seconds", "endpoint" => endpoint).record(duration.as_secs_f64());
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
        permit.send(UsageEvent::Ended(record));
    }
}

/// Records the metrics and the log line of a response that uses no model.
pub(crate) fn record_unmetered(
    endpoint: &'static Endpoint,
    status: StatusCode,
    context: &RequestContext,
    duration: Duration,
) {
    count(endpoint.path, status, RequestOutcome::Complete);
    histogram!("paddock_gateway_duration_seconds", "endpoint" => endpoint.path).record(duration.as_secs_f64());
    tracing::info!(
        ip = %context.ip, endpoint = endpoint.path, status = status.as_u16(),
        outcome = RequestOutcome::Complete.text(), duration_us = micros(duration), "gateway request"
    );
}

fn count(endpoint: &'static str, status: StatusCode, outcome: RequestOutcome) {
    counter!(
        "paddock_gateway_requests_total",
        "endpoint" => endpoint, "status" => status.as_u16().to_string(), "outcome" => outcome.text()
    )
    .increment(1);
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
