//! Who may come in.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use paddock_accounts::access::{Need, Principal};

use super::refusal::Refusal;
use crate::{app::App, authentication::authenticate};

/// The principal behind a request.
pub(crate) async fn identify(app: &App, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
    Ok(authenticate(app, headers).await?)
}

/// Whether it may use an endpoint that needs this.
pub(crate) fn permit(principal: &Principal, need: Need) -> Result<(), Refusal> {
    let denied = |denied| Refusal::new(StatusCode::FORBIDDEN, "forbidden", format!("{denied}"));
    principal.may(need).map_err(denied)
}
