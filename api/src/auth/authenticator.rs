//! The authenticator: from a credential to a principal whose limits allow the request.

use std::sync::Arc;

use http::HeaderMap;
use metrics::counter;
use paddock_accounts::{Accounts, access::Principal};
use paddock_store::{context::AuditContext, error_chain};

use super::{
    credential::credential_from_headers,
    error::AuthError,
    failure_limiter::{AttemptKind, AuthFailureLimiter},
};
use crate::{
    http::{deadline::with_db_timeout, request_context::RequestContext, spans},
    rate_limit::RateLimiter,
};

/// Authenticates requests. Cheap to clone; every clone shares the limiters.
#[derive(Clone)]
pub(crate) struct Authenticator {
    accounts: Accounts,
    failure_limiter: Arc<AuthFailureLimiter>,
    rate_limiter: Arc<RateLimiter>,
}

impl Authenticator {
    pub(crate) fn new(
        accounts: Accounts,
        failure_limiter: Arc<AuthFailureLimiter>,
        rate_limiter: Arc<RateLimiter>,
    ) -> Self {
        Self { accounts, failure_limiter, rate_limiter }
    }

    /// Returns the principal behind a request, if its limits allow the request. The request counts
    /// once.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        context: &RequestContext,
    ) -> Result<Arc<Principal>, AuthError> {
        let principal = self.authenticate(headers, context).await?;
        self.rate_limiter.admit(&principal, &context.rate_limit_status).await.map_err(AuthError::Limited)?;
        Ok(principal)
    }

    /// Returns the principal behind a request, without counting the request.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        context: &RequestContext,
    ) -> Result<Arc<Principal>, AuthError> {
        let verified = self.verify(credential_from_headers(headers), context).await;
        let principal = verified.inspect_err(count_failure)?;
        spans::record_principal(&principal);
        Ok(principal)
    }

    /// Authenticates the credential again and returns the principal with its current rights. A
    /// handler calls this before it acts, if the principal may have lost rights since the headers
    /// of the request were read. Without a change of rights this costs no query.
    pub(crate) async fn reauthenticate(
        &self,
        credential: Result<&str, AuthError>,
    ) -> Result<Arc<Principal>, AuthError> {
        let verified = match credential {
            Ok(text) => match with_db_timeout(self.accounts.access().authenticate(text)).await {
                Ok(verified) => verified.map_err(AuthError::Refused),
                Err(error) => Err(AuthError::Database(error)),
            },
            Err(error) => Err(error),
        };
        verified.inspect_err(count_failure)
    }

    /// Verifies a credential, unless its address is throttled and the credential is unverified.
    async fn verify(
        &self,
        credential: Result<&str, AuthError>,
        context: &RequestContext,
    ) -> Result<Arc<Principal>, AuthError> {
        let text = credential?;
        let is_unverified = || self.accounts.access().is_unverified_key(text);
        let attempt = self.failure_limiter.begin(context.ip, AttemptKind::Credential, is_unverified);
        let attempt = attempt.map_err(AuthError::Throttled)?;
        match with_db_timeout(self.accounts.access().authenticate(text)).await {
            Ok(Ok(principal)) => {
                attempt.refund();
                Ok(principal)
            }
            Ok(Err(reason)) => {
                Err(attempt.consume().map_or_else(AuthError::Throttled, |()| AuthError::Refused(reason)))
            }
            Err(error) => {
                attempt.refund();
                Err(AuthError::Database(error))
            }
        }
    }

    /// Records in the audit log that the principal was denied `target`. The denial stands even if
    /// the record fails.
    pub(crate) async fn record_denial(&self, audit: &AuditContext, principal: &Principal, target: &str, reason: &str) {
        let recorded = with_db_timeout(self.accounts.access().record_denial(audit, principal, target, reason)).await;
        if let Err(error) = recorded {
            tracing::error!(error = error_chain(&error), target, "denial not recorded");
        }
    }
}

fn count_failure(error: &AuthError) {
    counter!("paddock_authentication_failures_total", "reason" => error.text()).increment(1);
}
