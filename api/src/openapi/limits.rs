//! What the limits add to every operation that needs a credential, or the cookie of a session: 429, and the headers that
//! tell how they stand.

use utoipa::openapi::{OpenApi, PathItem, RefOr, path::Operation, security::SecurityRequirement};

use super::{headers, problems::problem};

pub(super) const EXCEEDED: &str = "The user, or the key, has made more requests than its limit allows; or too many credentials \
                                   from the address are not valid.";

const HEADERS: [(&str, &str); 3] = [
    ("X-RateLimit-Limit", "Requests a minute: of the user or the key, whichever has fewer left."),
    ("X-RateLimit-Remaining", "How many requests are left at the moment."),
    ("X-RateLimit-Reset", "When all of them are there again, in seconds."),
];

/// Adds them to the document.
pub(super) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, patch, .. } = item;
        for operation in [get, put, post, delete, patch].into_iter().flatten() {
            if goes_by(operation, "bearer") || goes_by(operation, "refresh_cookie") {
                add(operation);
            }
        }
    }
}

/// Whether it needs this, or something like it. What goes by nothing as well has no limits.
fn goes_by(operation: &Operation, scheme: &str) -> bool {
    let (nobody, scheme) = (SecurityRequirement::default(), SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []));
    operation.security.as_ref().is_some_and(|ways| ways.contains(&scheme) && !ways.contains(&nobody))
}

/// Adds them to every answer: with 401 too, for the credential may have counted when the request began.
fn add(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    responses.entry("429".to_owned()).or_insert_with(|| problem("429", EXCEEDED).into());
    for response in responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for (name, description) in HEADERS {
            response.headers.insert(name.to_owned(), headers::number(description).into());
        }
    }
}
