//! The web UI: the files that `make ui-build` builds, embedded in the executable.
//!
//! Cargo never builds the UI. An executable that was built without it answers with a page that says
//! how to build it.

mod coding;
mod file;
mod root;

use axum::{
    Router,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use rust_embed::RustEmbed;

use crate::http::error::{ApiError, Kind};
pub(crate) use root::redirect_browser;

/// Where the UI is served.
const BASE: &str = "/ui/";
/// The page that every path of the UI shows.
const INDEX: &str = "index.html";
/// The folder of files whose names contain a hash of their content.
const HASHED: &str = "assets/";

/// The content security policy of the UI: its own files, and requests to this server.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
     font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
);

const NOT_BUILT: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
     <meta name=\"color-scheme\" content=\"light dark\"><title>UI not built - Paddock</title></head>\n<body>\n\
     <h1>UI not built</h1>\n<p>This executable has no web UI. In the source of Paddock, run <code>make ui-build</code>, which \
     needs Node.js 20, and build Paddock again; <code>make run</code> does both.</p>\n\
     <p>The API works without the UI: <a href=\"/docs/\">its documentation</a>.</p>\n</body></html>\n";

/// The built files.
#[derive(RustEmbed)]
#[folder = "../frontend/dist"]
#[allow_missing = true]
struct Dist;

/// Whether this executable contains the web UI.
#[must_use]
pub fn has_ui() -> bool {
    Dist::get(INDEX).is_some()
}

/// The routes of the UI.
pub(crate) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let show = get(async |uri: Uri, headers: HeaderMap| show::<Dist>(uri.path(), &headers));
    Router::new()
        .route("/ui", get(async || Redirect::permanent(BASE)))
        .route(BASE, show.clone())
        .route("/ui/{*path}", show)
}

/// Answers a path of the UI: with a file, or with the page that reads the path itself.
fn show<F: RustEmbed>(path: &str, request: &HeaderMap) -> Result<Response, ApiError> {
    let name = path.strip_prefix(BASE).unwrap_or_default();
    if name.starts_with(HASHED) {
        return file::respond::<F>(name, file::IMMUTABLE, request)
            .ok_or_else(|| ApiError::new(Kind::NotFound, "the UI has no such file; reload the page"));
    }
    let file = file::respond::<F>(name, file::REVALIDATE, request);
    Ok(file.or_else(|| file::respond::<F>(INDEX, file::REVALIDATE, request)).unwrap_or_else(not_built))
}

fn not_built() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::NOT_FOUND, headers, NOT_BUILT).into_response()
}

#[cfg(test)]
mod tests;
