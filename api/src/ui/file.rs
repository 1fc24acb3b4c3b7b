//! A response with an embedded file: its coding, its caching and its content type.

use std::borrow::Cow;

use axum::{body::Body, response::Response};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{POLICY, coding::Coding};

/// The caching of a file whose name changes with its content.
pub(super) const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The caching of every other file: the browser asks each time whether it changed.
pub(super) const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// How many bytes of the hash identify the content.
const TAG_BYTES: usize = 16;

/// Answers with a file, in the best coding that the client accepts and the build made. `None`: there
/// is no such file.
pub(super) fn respond<F: RustEmbed>(name: &str, caching: HeaderValue, request: &HeaderMap) -> Option<Response> {
    if name.is_empty() || Coding::is_coded(name) {
        return None;
    }
    let coded = Coding::accepted(request)
        .into_iter()
        .find_map(|coding| Some((F::get(&format!("{name}{}", coding.suffix()))?, Some(coding))));
    let (file, coding) = coded.or_else(|| Some((F::get(name)?, None)))?;
    let tag = tag_of(&file);
    let is_fresh = is_known(&tag, request);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, caching);
    // Also with 304, which would otherwise replace the stored policy by that of the API.
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::ETAG, tag);
    if is_fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Some(response);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.text()));
    }
    *response.body_mut() = Body::from(match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    });
    Some(response)
}

/// Returns the entity tag of a file. Each coding of a file has its own.
fn tag_of(file: &EmbeddedFile) -> HeaderValue {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(&file.metadata.sha256_hash()[..TAG_BYTES]);
    HeaderValue::try_from(format!("\"{hash}\"")).expect("base64 can stand in a header")
}

/// Whether the client has the file with this tag (RFC 9110, section 13.1.2).
fn is_known(tag: &HeaderValue, request: &HeaderMap) -> bool {
    let given = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
