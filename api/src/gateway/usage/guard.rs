//! The guard of an admitted request, which records its usage once.

use std::time::Duration;

use http::StatusCode;
use metrics::gauge;
use paddock_accounts::{Accounts, access::Principal, usage::UsageRecord};
use paddock_ollama::{Endpoint, ModelName, Usage};
use tokio::time::Instant;
use tracing::Span;

use super::pending::{BegunUsage, PendingUsage};
use crate::{
    gateway::{prompt_estimate::PromptEstimate, queue::QueuePermit},
    http::{
        error::ApiError,
        request_context::RequestContext,
        request_metrics::{CLIENT_GONE, RequestMetrics},
        request_outcome::RequestOutcome,
    },
};

/// An error of Ollama that takes less time refuses the request without work for it.
const MIN_WORK: Duration = Duration::from_secs(1);

/// A request whose usage is recorded.
pub(crate) struct UsageRequest<'a> {
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) context: &'a RequestContext,
    pub(crate) principal: &'a Principal,
    pub(crate) model: &'a ModelName,
}

impl UsageRequest<'_> {
    /// Returns the record of the request, which arrived at `started`, as long as its end is not
    /// known.
    pub(in crate::gateway) fn record(&self, accounts: &Accounts, started: Instant) -> UsageRecord {
        UsageRecord {
            usage_id: accounts.usage().new_id(),
            request_id: self.context.id_text().to_owned(),
            user_id: self.principal.user_id,
            credential_id: self.principal.credential_id(),
            model: self.model.as_str().to_owned(),
            endpoint: self.endpoint.path.into(),
            prompt_tokens: None,
            cached_prompt_tokens: None,
            completion_tokens: None,
            tokens_estimated: false,
            started_at: accounts.now() - started.elapsed(),
            first_byte_us: None,
            duration_us: 0,
            status: RequestOutcome::ClientGone.text().into(),
            http_status: CLIENT_GONE.as_u16(),
        }
    }
}

/// Guards an admitted request. However the request ends, even if the client disconnects, the guard
/// sends one usage record and ends the metrics of the request. After the response has begun,
/// `MeteredBody` in stream.rs ends it.
pub(crate) struct UsageGuard {
    /// `None` after the end of the request.
    open: Option<OpenRequest>,
}

struct OpenRequest {
    begun: BegunUsage,
    prompt: PromptEstimate,
    /// When the request was forwarded.
    forwarded: Instant,
    /// Held until the end of the request.
    place: Option<QueuePermit>,
    metrics: RequestMetrics,
}

impl UsageGuard {
    /// Begins to record a request, and takes over its place and its metrics.
    pub(in crate::gateway) fn begin(
        pending: PendingUsage,
        place: Option<QueuePermit>,
        model: &ModelName,
        prompt: PromptEstimate,
        mut metrics: RequestMetrics,
    ) -> Self {
        metrics.set_model(model);
        gauge!("paddock_gateway_in_flight").increment(1);
        Self {
            open: pending.begin().map(|begun| OpenRequest { begun, prompt, forwarded: Instant::now(), place, metrics }),
        }
    }

    /// Returns the span of the request, which lives as long as the guard.
    pub(crate) fn span(&self) -> Span {
        self.open.as_ref().map_or_else(Span::none, |open| open.metrics.span().clone())
    }

    /// Records the time of the first byte. Later calls have no effect.
    pub(crate) fn record_first_byte(&mut self) {
        if let Some(open) = &mut self.open {
            open.metrics.record_first_byte();
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
        let Self { mut begun, prompt, forwarded, place, metrics } = self;
        let record = &mut begun.record;
        let has_run = may_have_run(outcome) || has_worked(status, forwarded.elapsed());
        let unanswered = (usage.is_none() && has_run).then(|| prompt.of_unanswered());
        let usage = usage.or(unanswered.as_ref());
        record.duration_us = micros(metrics.started().elapsed());
        record.first_byte_us = metrics.first_byte().map(micros);
        record.status = outcome.text().into();
        record.http_status = status.as_u16();
        if let Some(usage) = usage {
            record.prompt_tokens = Some(token_count(usage.prompt_tokens));
            record.completion_tokens = Some(token_count(usage.completion_tokens));
            record.cached_prompt_tokens = usage.cached_prompt_tokens.map(token_count);
            record.tokens_estimated = usage.is_estimated;
        }
        if let Some(mut place) = place {
            place.settle(usage.map_or(0, |usage| usage.prompt_tokens.saturating_add(usage.completion_tokens)));
        }
        gauge!("paddock_gateway_in_flight").decrement(1);
        metrics.end(outcome, status, usage.copied());
        begun.end();
    }
}

/// Whether Ollama may have read the prompt, if the request ended with this outcome and without a
/// response.
fn may_have_run(outcome: RequestOutcome) -> bool {
    matches!(
        outcome,
        RequestOutcome::ClientGone
            | RequestOutcome::Revoked
            | RequestOutcome::Shutdown
            | RequestOutcome::UpstreamIncomplete
            | RequestOutcome::UpstreamTimeout(_)
    )
}

/// Whether Ollama refused the request only after it had worked on it. It embeds the first texts of a
/// list, for example, before it finds that a later one is too long.
fn has_worked(status: StatusCode, took: Duration) -> bool {
    status.is_client_error() && took >= MIN_WORK
}

/// Converts a token count to its stored form. Limits an impossibly large count of a defective
/// Ollama, so that the totals of a user do not overflow.
fn token_count(tokens: u64) -> i64 {
    const MAX_TOKENS: i64 = 1 << 40;
    i64::try_from(tokens).unwrap_or(MAX_TOKENS).min(MAX_TOKENS)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
