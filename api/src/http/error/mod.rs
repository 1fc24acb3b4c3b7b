//! The error of a request, in the management API and in the gateway.
//!
//! [`ApiError`] holds the kind of the error and the texts for the client. [`problem`] renders it as
//! RFC 9457 problem details, for the management API; [`gateway`] renders it in the protocol of a
//! client of the gateway. `causes` maps each cause to its error.

mod causes;
mod gateway;
mod kind;
pub(crate) mod problem;

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use paddock_accounts::Violation;

use super::redact::redact_keys;
use crate::rate_limit::headers::whole_seconds;
pub(crate) use kind::Kind;

/// How many violations one response names. A request can have a hundred thousand.
pub(crate) const MAX_VIOLATIONS: usize = 20;

/// Why a request fails.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    kind: Kind,
    /// The reason in the gateway's log, and for its clients if their dialect has a field for it. It
    /// is finer than the kind.
    code: &'static str,
    /// The text for the client.
    detail: Cow<'static, str>,
    /// The text for clients of the gateway, if they get another one.
    gateway_detail: Option<&'static str>,
    violations: Vec<Violation>,
    retry_after: Option<RetryAfter>,
}

/// When the client may try again.
#[derive(Clone, Copy, Debug)]
enum RetryAfter {
    /// After this time.
    Delay(Duration),
    /// After a fixed time, which each renderer has.
    Outage,
}

impl ApiError {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            code: kind.slug(),
            detail: without_keys(detail.into()),
            gateway_detail: None,
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// Values that break rules, at most [`MAX_VIOLATIONS`] of them.
    pub(crate) fn invalid(mut violations: Vec<Violation>) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        for violation in &mut violations {
            violation.pointer = without_keys(std::mem::take(&mut violation.pointer).into()).into_owned();
            violation.detail = without_keys(std::mem::take(&mut violation.detail).into()).into_owned();
        }
        let texts: Vec<_> = violations.iter().map(|found| format!("{} {}", found.pointer, found.detail)).collect();
        Self { violations, ..Self::new(Kind::Invalid, texts.join("; ")) }
    }

    /// The database is unavailable, and nothing was changed.
    pub(crate) fn database_unavailable() -> Self {
        Self::database("the database is not available; nothing was changed")
    }

    /// The database did not answer in time. A change may have been made or not.
    fn database_timeout() -> Self {
        Self::database(
            "the database did not answer in time; whether a change was made is not known, so look before you try again",
        )
    }

    fn database(detail: &'static str) -> Self {
        Self::new(Kind::Unavailable, detail)
            .with_code("database_unavailable")
            .with_gateway_detail("the gateway's database is not available")
            .retry_after_outage()
    }

    /// A defect. The response tells the client nothing about it.
    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "the server failed; the log has the request id")
            .with_gateway_detail("the gateway failed; its log has the request id")
    }

    /// Sets the code. Without one, the code is the slug of the kind.
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// Replaces the text for the client.
    pub(crate) fn with_detail(self, detail: String) -> Self {
        Self { detail: without_keys(detail.into()), ..self }
    }

    /// Sets another text for clients of the gateway.
    fn with_gateway_detail(self, detail: &'static str) -> Self {
        Self { gateway_detail: Some(detail), ..self }
    }

    pub(crate) fn with_retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(RetryAfter::Delay(delay)), ..self }
    }

    /// Asks the client to try again after a fixed time, because a part of Paddock is unavailable.
    pub(crate) fn retry_after_outage(self) -> Self {
        Self { retry_after: Some(RetryAfter::Outage), ..self }
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// Sets the headers that both renderers share. `outage` is the `Retry-After` of an unavailable
    /// part.
    fn set_headers(&self, headers: &mut HeaderMap, outage: Duration) {
        match self.retry_after {
            Some(RetryAfter::Delay(delay)) => headers.insert(header::RETRY_AFTER, whole_seconds(delay)),
            Some(RetryAfter::Outage) => headers.insert(header::RETRY_AFTER, whole_seconds(outage)),
            None => None,
        };
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

/// Replaces keys in a text, which may repeat what the client sent.
fn without_keys(text: Cow<'static, str>) -> Cow<'static, str> {
    match redact_keys(&text) {
        Cow::Owned(redacted) => redacted.into(),
        Cow::Borrowed(_) => text,
    }
}
