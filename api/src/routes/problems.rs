//! The pages that the `type` of a problem links to, generated from the list of kinds.

use std::fmt::Write as _;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};

use crate::http::error::{ApiError, Kind};

/// The content security policy of the pages: inline styles, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:2em auto;padding:0 1em;\
                     color-scheme:light dark}code{font-size:.95em}dt{font-weight:600}";

/// `/problems`, and a page for each kind.
pub(super) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/problems", get(async || index())).route(
        "/problems/{slug}",
        get(async |Path(slug): Path<String>| {
            let kind = Kind::PROBLEMS.iter().copied().find(|kind| kind.slug() == slug);
            kind.map(kind_page).ok_or_else(|| ApiError::new(Kind::NotFound, "there is no such kind of problem"))
        }),
    )
}

fn index() -> Response {
    let mut body = String::from("<h1>Problems</h1>\n");
    for kind in Kind::PROBLEMS {
        section(&mut body, *kind, "h2");
    }
    page("Problems", &body)
}

fn kind_page(kind: Kind) -> Response {
    let mut body = String::new();
    section(&mut body, kind, "h1");
    body.push_str("<p><a href=\"/problems\">All problems</a></p>\n");
    page(kind.title(), &body)
}

fn section(body: &mut String, kind: Kind, heading: &str) {
    let (slug, status) = (kind.slug(), kind.status().as_u16());
    let (title, meaning, remedy) = (escaped(kind.title()), escaped(kind.meaning().trim()), escaped(kind.remedy()));
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<{heading} id=\"{slug}\">{title}</{heading}>\n<dl><dt>Type</dt><dd><code><a href=\"/problems/{slug}\">\
         /problems/{slug}</a></code></dd><dt>Status</dt><dd>{status}</dd><dt>Meaning</dt><dd>{meaning}</dd>\
         <dt>What to do</dt><dd>{remedy}</dd></dl>"
    );
}

fn page(title: &str, body: &str) -> Response {
    let title = escaped(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - Paddock</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, page).into_response()
}

/// Escapes text for HTML. Text between two backticks becomes code.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let mut html = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            html.push_str(if index % 2 == 1 { "<code>" } else { "</code>" });
        }
        html.push_str(part);
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_code_is_marked() {
        assert_eq!(escaped("a < b & `c`"), "a &lt; b &amp; <code>c</code>");
    }
}
