//! Authentication and authorization of a gateway request.

use http::HeaderMap;
use paddock_accounts::{
    access::{Permission, Principal},
    types::UnknownVariant,
};
use paddock_ollama::{Access, Endpoint, Operation};

use crate::{
    auth::{AuthenticatedRequest, Authenticator},
    http::{
        error::{ApiError, Kind},
        request_context::RequestContext,
    },
};

/// Authenticates a request, if the limits of its principal allow it. The request counts once,
/// unless it only counts tokens.
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    operation: Operation,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Result<AuthenticatedRequest, ApiError> {
    Ok(match operation {
        Operation::CountTokens => authenticator.authenticate(headers, context).await?,
        _ => authenticator.admit(headers, context).await?,
    })
}

/// Returns the permission that an endpoint requires. `None`: the endpoint is open to anonymous
/// callers. Fails if its scope is unknown, which the start of the gateway rules out.
pub(super) fn required_permission(endpoint: &Endpoint) -> Result<Option<Permission>, UnknownVariant> {
    Ok(match endpoint.access {
        Access::Public => None,
        Access::Authenticated => Some(Permission::Profile),
        Access::Scope(scope) => Some(Permission::Use(scope.parse()?)),
        Access::AdminScope(scope) => Some(Permission::Manage(scope.parse()?)),
    })
}

/// Checks that the principal has the permission.
pub(super) fn authorize(principal: &Principal, permission: Permission) -> Result<(), ApiError> {
    principal.may(permission).map_err(|denied| ApiError::new(Kind::Forbidden, denied.to_string()))
}
