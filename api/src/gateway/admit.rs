//! Who may come in.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use paddock_accounts::access::{Permission, Principal};

use super::refusal::Refusal;
use crate::{app::App, authentication, origin::Origin};

/// The principal behind a request, if its limits allow it. It counts, once.
pub(crate) async fn identify(app: &App, headers: &HeaderMap, origin: &Origin) -> Result<Arc<Principal>, Refusal> {
    Ok(authentication::admit(app, headers, origin).await?)
}

/// The principal as it is now, if it may still use such an endpoint.
pub(crate) async fn again(app: &App, headers: &HeaderMap, need: Permission) -> Result<Arc<Principal>, Refusal> {
    let principal = authentication::again(app, authentication::presented(headers)).await?;
    permit(&principal, need)?;
    Ok(principal)
}

/// Whether it may use an endpoint that needs this.
pub(crate) fn permit(principal: &Principal, need: Permission) -> Result<(), Refusal> {
    let denied = |denied| Refusal::new(StatusCode::FORBIDDEN, "forbidden", format!("{denied}"));
    principal.may(need).map_err(denied)
}
