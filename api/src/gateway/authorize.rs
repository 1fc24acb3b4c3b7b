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

/// Authenticates a request, if the limits of its principal allow it. The request counts once,
/// unless it only counts tokens and its principal may make requests.
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

/// Whether neither the user nor the key has a limit of no requests at all.
fn may_make_requests(principal: &Principal) -> bool {
    let of_key = match &principal.via {
        AuthMethod::Key { limits, .. } => limits.requests_per_minute,
        AuthMethod::Session { .. } => None,
    };
    principal.limits.requests_per_minute != Some(0) && of_key != Some(0)
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
