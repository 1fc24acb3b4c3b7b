//! The header that warns of the end of an API key, for every operation that accepts one.

use utoipa::openapi::{OpenApi, PathItem, RefOr};

use super::limits::requires;
use crate::http::openapi_headers;

/// Adds the header to the document.
pub(super) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, patch, .. } = item;
        for operation in [get, put, post, delete, patch].into_iter().flatten() {
            if !requires(operation, "bearer") {
                continue;
            }
            for response in operation.responses.responses.values_mut() {
                let RefOr::T(response) = response else { continue };
                let header = openapi_headers::text("When the API key of the request ends, if that is within 24 hours.");
                response.headers.insert("X-Paddock-Key-Expires".to_owned(), header.into());
            }
        }
    }
}
