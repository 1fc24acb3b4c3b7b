//! Authentication and authorization of a gateway request.

use http::HeaderMap;
use paddock_accounts::{
    access::{AuthMethod, Permission, Principal},
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

/// Authenticates a request, and counts it against the rate limits of its principal. Fails if a
/// limit is exceeded. A request that only counts tokens is not counted, but fails if its principal
/// is limited to 0 requests per minute.
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    operation: Operation,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Result<AuthenticatedRequest, ApiError> {
    Ok(match operation {
        Operation::CountTokens => {
            let request = authenticator.authenticate(headers, context).await?;
            if !may_make_requests(request.principal()) {
                return Ok(authenticator.admit(headers, context).await?);
            }
            request
        }
        _ => authenticator.admit(headers, context).await?,
    })
}

/// Whether neither the user nor the key is limited to 0 requests per minute.
fn may_make_requests(principal: &Principal) -> bool {
    let of_key = match &principal.via {
        AuthMethod::Key { limits, .. } => limits.requests_per_minute,
        AuthMethod::Session { .. } => None,
    };
    principal.limits.requests_per_minute != Some(0) && of_key != Some(0)
}

/// Returns the permission that an endpoint requires; `None` if the endpoint is open to anonymous
/// callers. Fails if the scope of the endpoint is unknown. [`Gateway::new`](super::Gateway::new)
/// rejects a route table with such a scope.
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
