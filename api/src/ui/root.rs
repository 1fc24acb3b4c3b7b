//! The path `/`: the UI for browsers, and Ollama's own answer for every other client.

use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, Method, Request, header};

use super::BASE;

/// Sends a browser that opens `/` to the UI. `None`: the request is another one.
pub(crate) fn redirect_browser<B>(request: &Request<B>) -> Option<Response> {
    let opens_root = request.uri().path() == "/" && matches!(*request.method(), Method::GET | Method::HEAD);
    if !opens_root || !accepts_html(request.headers()) {
        return None;
    }
    let mut response = Redirect::to(BASE).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Whether the client names HTML. Browsers do so; the clients of Ollama accept anything, or JSON.
fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|text| text.split(',')).any(|item| {
        item.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("text/html"))
    })
}
