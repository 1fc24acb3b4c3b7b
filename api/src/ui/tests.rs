use http::{HeaderName, Request};
use rstest::rstest;

use super::*;
use crate::http::test_headers::headers;

/// A built UI: a page, a hashed file in both codings, and one without.
#[derive(RustEmbed)]
#[folder = "src/ui/testdata"]
struct Built;

/// A UI that was not built.
#[derive(RustEmbed)]
#[folder = "src/ui/missing"]
#[allow_missing = true]
struct Missing;

fn get_file(path: &str, request: &[(&'static str, &'static str)]) -> Response {
    show::<Built>(path, &headers(request)).unwrap()
}

fn value(response: &Response, name: HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[rstest]
#[case("/ui/")]
#[case("/ui/users")]
#[case("/ui/users/ada@example.com")]
#[case("/ui/index.html.br")]
fn every_path_of_the_ui_shows_its_page(#[case] path: &str) {
    let page = get_file(path, &[]);
    assert_eq!((page.status(), value(&page, header::CACHE_CONTROL)), (StatusCode::OK, "no-cache"));
    assert_eq!(value(&page, header::CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
}

#[test]
fn a_known_page_is_not_sent_again() {
    let page = get_file("/ui/", &[]);
    let tag: &'static str = Box::leak(value(&page, header::ETAG).to_owned().into_boxed_str());
    let weak: &'static str = Box::leak(format!("\"x\", W/{tag}").into_boxed_str());
    for known in [tag, weak, "*"] {
        let again = get_file("/ui/models", &[("if-none-match", known)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(again.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
    }
    assert_eq!(get_file("/ui/", &[("if-none-match", "\"x\"")]).status(), StatusCode::OK);
}

#[rstest]
#[case("gzip, deflate, br, zstd", "br")]
#[case("gzip", "gzip")]
#[case("br;q=0.5, gzip;q=0.8", "gzip")]
#[case("br;q=0, *", "gzip")]
#[case("br;q=x", "")]
#[case("identity", "")]
#[case("", "")]
fn a_file_is_sent_in_the_best_accepted_coding(#[case] accepted: &'static str, #[case] coding: &str) {
    let file = get_file("/ui/assets/app-1a2b.js", &[("accept-encoding", accepted)]);
    assert_eq!(value(&file, header::CONTENT_ENCODING), coding);
    assert_eq!(value(&file, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    assert_eq!(value(&file, header::CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(value(&file, header::VARY), "Accept-Encoding");
}

#[test]
fn each_coding_has_its_own_tag() {
    let tags = ["br", "gzip", "identity"].map(|coding| {
        let file = get_file("/ui/assets/app-1a2b.js", &[("accept-encoding", coding)]);
        value(&file, header::ETAG).to_owned()
    });
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
}

#[test]
fn a_file_without_a_coding_is_sent_as_it_is() {
    let file = get_file("/ui/icon.svg", &[("accept-encoding", "br, gzip")]);
    assert_eq!((value(&file, header::CONTENT_ENCODING), value(&file, header::CONTENT_TYPE)), ("", "image/svg+xml"));
    assert_eq!(value(&file, header::CACHE_CONTROL), "no-cache");
}

#[rstest]
#[case("/ui/assets/app-0000.js")]
#[case("/ui/assets/app-1a2b.js.br")]
#[case("/ui/assets/../index.html")]
#[case("/ui/assets/")]
fn an_unknown_asset_is_not_found(#[case] path: &str) {
    assert_eq!(show::<Built>(path, &HeaderMap::new()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_ui_that_was_not_built_says_so() {
    let page = show::<Missing>("/ui/users", &HeaderMap::new()).unwrap();
    assert_eq!((page.status(), value(&page, header::CACHE_CONTROL)), (StatusCode::NOT_FOUND, "no-store"));
}

#[rstest]
#[case::browser("GET", "/", "text/html,application/xhtml+xml,*/*;q=0.8", true)]
#[case::head("HEAD", "/", "TEXT/HTML;q=0.9", true)]
#[case::curl("GET", "/", "*/*", false)]
#[case::json("GET", "/", "application/json", false)]
#[case::post("POST", "/", "text/html", false)]
#[case::other_path("GET", "/api/tags", "text/html", false)]
fn only_browsers_are_sent_from_the_root_to_the_ui(
    #[case] method: &str,
    #[case] path: &str,
    #[case] accepted: &str,
    #[case] is_sent: bool,
) {
    let request = Request::builder().method(method).uri(path).header("accept", accepted).body(()).unwrap();
    let location = redirect_browser(&request).map(|response| value(&response, header::LOCATION).to_owned());
    assert_eq!(location.as_deref(), is_sent.then_some("/ui/"));
}
