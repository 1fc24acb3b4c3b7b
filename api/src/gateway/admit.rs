//! Who may come in.

use http::{HeaderMap, StatusCode};
use paddock_accounts::{
    access::{Need, Principal},
    sets::Scope,
};
use paddock_ollama::Endpoint;

use super::refusal::Refusal;
use crate::{
    app::App,
    authentication::{authenticate, record_denial},
    origin::Origin,
};

/// The principal behind a request, if it may use the endpoint.
pub(crate) async fn admit(
    app: &App,
    endpoint: &Endpoint,
    scope: Scope,
    headers: &HeaderMap,
    origin: &Origin,
) -> Result<Principal, Refusal> {
    let principal = authenticate(app, headers).await?;
    let Err(denied) = principal.may(Need::Use(scope)) else { return Ok(principal) };
    let context = origin.context(headers, principal.actor());
    let target = format!("{} {}", endpoint.method, endpoint.path);
    record_denial(app, &context, &principal, &target, &denied).await;
    Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string()))
}
