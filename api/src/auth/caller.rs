//! The caller of a management request, as an extractor.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts, MatchedPath},
    http::request::Parts,
};
use http::header;
use paddock_accounts::{
    Error, UserId,
    access::{Permission, Principal},
    types::Scope,
};
use paddock_store::context::{Actor, AuditContext};

use super::authenticator::{AuthenticatedRequest, Authenticator};
use crate::http::{
    deadline::DbError,
    error::{ApiError, Kind},
    extract::Revalidate,
    request_context::RequestContext,
};

/// The authenticated caller of a management request.
pub(crate) struct Caller {
    /// The audit context of what this principal does.
    pub(crate) audit_context: AuditContext,
    authenticator: Authenticator,
    /// The route in audit events: `PATCH /users/{id}`.
    route: String,
    request: AuthenticatedRequest,
    /// The permissions that the request has required so far, for the next check.
    required: Vec<Permission>,
}

impl Caller {
    /// Returns the principal, with its rights as of the last check.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        self.request.principal()
    }

    /// Returns the authenticated request, for the gateway.
    pub(crate) fn request(&self) -> &AuthenticatedRequest {
        &self.request
    }

    /// Fails unless the caller has the permission. A denial is recorded in the audit log.
    pub(crate) async fn require(&mut self, permission: Permission) -> Result<(), ApiError> {
        self.required.push(permission);
        self.check(permission).await
    }

    /// Restricts a query to the rows that the caller may read. Returns the requested user, if the
    /// caller may see it. Without one, returns `None`, which means all users, or the caller itself
    /// if it may see no others.
    pub(crate) async fn scope_to_user(
        &mut self,
        scope: Scope,
        requested: Option<UserId>,
    ) -> Result<Option<UserId>, ApiError> {
        match requested {
            None => Ok(self.principal().may(Permission::Manage(scope)).is_err().then_some(self.principal().user_id)),
            Some(user) => {
                self.require(Permission::See(scope, user)).await?;
                Ok(Some(user))
            }
        }
    }

    async fn check(&self, permission: Permission) -> Result<(), ApiError> {
        match self.principal().may(permission) {
            Ok(()) => Ok(()),
            Err(denied) => Err(self.deny(denied.to_string()).await),
        }
    }

    /// Converts the error of a database call. A denial is recorded in the audit log.
    pub(crate) async fn error_from(&self, error: DbError) -> ApiError {
        match error {
            DbError::Failed(error @ (Error::ExceedsGrant(_) | Error::AccessDenied(_))) => {
                self.deny(error.to_string()).await
            }
            other => other.into(),
        }
    }

    /// Records a denial in the audit log and returns the problem for the response.
    pub(crate) async fn deny(&self, reason: String) -> ApiError {
        self.authenticator.record_denial(&self.audit_context, self.principal(), &self.route, &reason).await;
        ApiError::new(Kind::Forbidden, reason)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Authenticator: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let authenticator = Authenticator::from_ref(state);
        let context = request_context(parts)?;
        let request = authenticator.admit(&parts.headers, context).await?;
        let actor = request.principal().actor();
        let audit_context = context.audit_context(parts.headers.get(header::USER_AGENT), actor);
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let route = format!("{} {path}", parts.method);
        Ok(Self { audit_context, authenticator, route, request, required: Vec::new() })
    }
}

impl Revalidate for Caller {
    const IS_AUTHENTICATED: bool = true;

    async fn revalidate(&mut self) -> Result<(), ApiError> {
        self.authenticator.recheck(&mut self.request).await?;
        for permission in &self.required {
            self.check(*permission).await?;
        }
        Ok(())
    }
}

/// The sender of a request that needs no credential, as its audit context.
pub(crate) struct Anonymous(pub(crate) AuditContext);

impl<S: Sync> FromRequestParts<S> for Anonymous {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(request_context(parts)?.audit_context(parts.headers.get(header::USER_AGENT), Actor::Anonymous)))
    }
}

impl Revalidate for Anonymous {
    const IS_AUTHENTICATED: bool = false;

    /// Anonymous callers have no rights to revoke.
    async fn revalidate(&mut self) -> Result<(), ApiError> {
        Ok(())
    }
}

fn request_context(parts: &Parts) -> Result<&RequestContext, ApiError> {
    // The dispatcher inserts it into every request before routing.
    parts.extensions.get::<RequestContext>().ok_or_else(ApiError::internal)
}
