//! The authenticator: from a credential to a principal whose limits allow the request.

use std::sync::Arc;

use http::HeaderMap;
use metrics::counter;
use paddock_accounts::{Accounts, AuthFailure, Authenticated, PresentedCredential, access::Principal};
use paddock_store::{context::AuditContext, error_chain};

use super::{
    credential::credential_from_headers,
    error::AuthError,
    failure_limiter::{AttemptKind, AttemptPermit, AuthFailureLimiter},
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

/// The credential of a request, and its principal.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedRequest {
    credential: PresentedCredential,
    authenticated: Authenticated,
}

impl AuthenticatedRequest {
    /// Returns the principal, with its rights as of the last check.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        self.authenticated.principal()
    }
}

impl Authenticator {
    pub(crate) fn new(
        accounts: Accounts,
        failure_limiter: Arc<AuthFailureLimiter>,
        rate_limiter: Arc<RateLimiter>,
    ) -> Self {
        Self { accounts, failure_limiter, rate_limiter }
    }

    /// Authenticates a request, if the limits of its principal allow it. The request counts once.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        context: &RequestContext,
    ) -> Result<AuthenticatedRequest, AuthError> {
        let request = self.authenticate(headers, context).await?;
        self.rate_limiter.admit(request.principal(), &context.rate_limit_status).await.map_err(AuthError::Limited)?;
        Ok(request)
    }

    /// Returns the count of an admitted request, which another limit refuses.
    pub(crate) async fn refund(&self, principal: &Principal, context: &RequestContext) {
        self.rate_limiter.refund(principal, &context.rate_limit_status).await;
    }

    /// Authenticates a request, without counting it.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        context: &RequestContext,
    ) -> Result<AuthenticatedRequest, AuthError> {
        let request = async {
            let credential = credential_from_headers(headers)?;
            let authenticated = self.verify(&credential, context).await?;
            Ok(AuthenticatedRequest { credential, authenticated })
        };
        let request = request.await.inspect_err(count_failure)?;
        spans::record_principal(request.principal());
        context.key_expiry.set(request.principal(), self.accounts.now());
        Ok(request)
    }

    /// Replaces the principal of a request by one with its current rights. A handler calls this
    /// before it acts, if the principal may have lost rights since the headers of the request were
    /// read. Without a change of rights this looks nothing up.
    pub(crate) async fn recheck(&self, request: &mut AuthenticatedRequest) -> Result<(), AuthError> {
        let access = self.accounts.authentication();
        let checked = match with_db_timeout(access.recheck(&request.credential, &request.authenticated)).await {
            Ok(checked) => checked.map_err(AuthError::Refused),
            Err(error) => Err(AuthError::Database(error)),
        };
        request.authenticated = checked.inspect_err(count_failure)?;
        Ok(())
    }

    /// Verifies a credential, unless it is throttled.
    ///
    /// Failures count by address and key id. So a dead key that a client repeats throttles itself
    /// and no other key. Keys that do not exist count by address too, because each costs a query. A
    /// credential that is known to be valid counts nowhere.
    async fn verify(
        &self,
        credential: &PresentedCredential,
        context: &RequestContext,
    ) -> Result<Authenticated, AuthError> {
        let access = self.accounts.authentication();
        if let Some(authenticated) = access.find_accepted(credential) {
            return Ok(authenticated);
        }
        let begin = |kind, is_unverified| {
            self.failure_limiter.begin(context.ip, kind, || is_unverified).map_err(AuthError::Throttled)
        };
        let kind = credential.key_id().map_or(AttemptKind::Malformed, AttemptKind::key);
        let attempt = begin(kind, access.is_unverified_key(credential))?;
        let lookup = access.needs_lookup(credential).then(|| begin(AttemptKind::UnknownKey, true)).transpose();
        let lookup = match lookup {
            Ok(lookup) => lookup,
            // The key was not verified, so the attempt is no failure of it.
            Err(throttled) => {
                attempt.refund();
                return Err(throttled);
            }
        };
        match with_db_timeout(access.authenticate(credential)).await {
            Ok(Ok(authenticated)) => {
                attempt.refund();
                lookup.into_iter().for_each(AttemptPermit::refund);
                Ok(authenticated)
            }
            Ok(Err(reason)) => {
                let counted = lookup.map_or(Ok(()), |lookup| {
                    if reason == AuthFailure::Unknown {
                        return lookup.consume();
                    }
                    lookup.refund();
                    Ok(())
                });
                let counted = attempt.consume().and(counted);
                Err(counted.map_or_else(AuthError::Throttled, |()| AuthError::Refused(reason)))
            }
            Err(error) => {
                attempt.refund();
                lookup.into_iter().for_each(AttemptPermit::refund);
                Err(AuthError::Database(error))
            }
        }
    }

    /// Records in the audit log that the principal was denied `target`. The denial stands even if
    /// the record fails.
    pub(crate) async fn record_denial(&self, audit: &AuditContext, principal: &Principal, target: &str, reason: &str) {
        let recorded =
            with_db_timeout(self.accounts.authentication().record_denial(audit, principal, target, reason)).await;
        if let Err(error) = recorded {
            tracing::error!(error = error_chain(&error), target, "denial not recorded");
        }
    }
}

fn count_failure(error: &AuthError) {
    counter!("paddock_authentication_failures_total", "reason" => error.text()).increment(1);
}
