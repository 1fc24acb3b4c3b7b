//! Authentication and authorization of a gateway request.

use std::sync::Arc;

use http::HeaderMap;
use paddock_accounts::{
    access::{Permission, Principal},
    types::UnknownVariant,
};
use paddock_ollama::{Access, Endpoint};

use crate::{
    auth::{Authenticator, credential_from_headers},
    http::{
        error::{ApiError, Kind},
        request_context::RequestContext,
    },
};

/// Returns the principal behind a request, if its limits allow the request. The request counts
/// once.
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Result<Arc<Principal>, ApiError> {
    Ok(authenticator.admit(headers, context).await?)
}

/// Returns the principal as it is now, if it still has the permission.
pub(super) async fn reauthorize(
    authenticator: &Authenticator,
    headers: &HeaderMap,
    permission: Permission,
) -> Result<Arc<Principal>, ApiError> {
    let principal = authenticator.reauthenticate(credential_from_headers(headers)).await?;
    authorize(&principal, permission)?;
    Ok(principal)
}

/// Returns the permission that an endpoint requires. `None`: the endpoint is open to anonymous
/// callers. Fails if its scope is unknown, which the start of the gateway rules out.
pub(super) fn required_permission(endpoint: &Endpoint) -> Result<Option<Permission>, UnknownVariant> {
    Ok(match endpoint.access {
        Access::Public => None,
        Access::Authenticated => Some(Permission::Profile),
        Access::Scope(scope) => Some(Permission::Use(scope.parse()?)),
    })
}

/// Checks that the principal has the permission.
pub(super) fn authorize(principal: &Principal, permission: Permission) -> Result<(), ApiError> {
    principal.may(permission).map_err(|denied| ApiError::new(Kind::Forbidden, denied.to_string()))
}
