//! Rate limits in the document: status 429 and the `X-RateLimit-*` headers, for every operation
//! that needs a credential or the refresh cookie.

use utoipa::openapi::{OpenApi, PathItem, RefOr, path::Operation, security::SecurityRequirement};

use crate::http::{openapi_headers, openapi_problems::problem};

pub(super) const EXCEEDED: &str =
    "The user or the key exceeds its limit, or the address has sent too many wrong credentials.";

const HEADERS: [(&str, &str); 3] = [
    (
        "X-RateLimit-Limit",
        "The limit in requests per minute: that of the user or of the key, whichever has fewer requests left.",
    ),
    ("X-RateLimit-Remaining", "The number of requests left now."),
    ("X-RateLimit-Reset", "The time until the whole limit is available again, in seconds."),
];

/// The path whose requests are not counted, because they run no model.
pub(super) const UNCOUNTED: &str = "/v1/messages/count_tokens";

/// Adds the limits to the document.
pub(super) fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        if path == UNCOUNTED {
            continue;
        }
        let PathItem { get, put, post, delete, patch, .. } = item;
        for operation in [get, put, post, delete, patch].into_iter().flatten() {
            if requires(operation, "bearer") || requires(operation, "refresh_cookie") {
                add(operation);
            }
        }
    }
}

/// Whether the operation requires this scheme. An operation that anonymous callers may use has no
/// limits.
pub(super) fn requires(operation: &Operation, scheme: &str) -> bool {
    let (anonymous, scheme) =
        (SecurityRequirement::default(), SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []));
    operation.security.as_ref().is_some_and(|ways| ways.contains(&scheme) && !ways.contains(&anonymous))
}

/// Adds the headers to every response: to 401 too, because the credential may have ended during the
/// request.
fn add(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    responses.entry("429".to_owned()).or_insert_with(|| problem("429", EXCEEDED).into());
    for response in responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for (name, description) in HEADERS {
            response.headers.insert(name.to_owned(), openapi_headers::number(description).into());
        }
    }
}
