//! Who may come in.

use http::{HeaderMap, StatusCode};
use paddock_accounts::{
    access::{Need, Principal},
    sets::Scope,
};

use super::refusal::Refusal;
use crate::{app::App, authentication::authenticate};

/// The principal behind a request.
pub(crate) async fn identify(app: &App, headers: &HeaderMap) -> Result<Principal, Refusal> {
    Ok(authenticate(app, headers).await?)
}

/// Whether it may use an endpoint that needs this scope.
pub(crate) fn permit(principal: &Principal, scope: Scope) -> Result<(), Refusal> {
    let denied = |denied| Refusal::new(StatusCode::FORBIDDEN, "forbidden", format!("{denied}"));
    principal.may(Need::Use(scope)).map_err(denied)
}
