use rstest::rstest;

use super::*;

fn rejection(method: &Method, path: &str) -> RouteError {
    match lookup(method, path) {
        Lookup::Rejected(error) => error,
        other => panic!("{method} {path}: {other:?}"),
    }
}

#[test]
fn table_lists_method_path_scope_dialect_and_operation() {
    let row = |endpoint: &Endpoint| {
        let scope = match endpoint.access {
            Access::Public => "-",
            Access::Authenticated => "(signed in)",
            Access::Scope(scope) => scope,
        };
        format!("{} {} {scope} {:?} {:?}", endpoint.method, endpoint.path, endpoint.dialect, endpoint.operation)
    };
    let table: Vec<String> = ENDPOINTS.iter().map(row).collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    GET / - Ollama Root
    GET /api/version (signed in) Ollama Version
    GET /api/tags models:read Ollama ListModels
    GET /v1/models models:read OpenAi ListModels
    POST /api/chat chat Ollama Chat
    POST /api/generate generate Ollama Generate
    POST /api/embed embed Ollama Embed
    POST /v1/chat/completions chat OpenAi Chat
    ");
}

fn is_found(method: &Method, endpoint: &Endpoint) -> bool {
    matches!(lookup(method, endpoint.path), Lookup::Served(found) if found.path == endpoint.path)
}

#[test]
fn lookup_finds_every_endpoint() {
    for endpoint in ENDPOINTS {
        assert!(is_found(&endpoint.method, endpoint), "{endpoint:?}");
    }
}

#[test]
fn head_is_served_where_get_is() {
    for endpoint in ENDPOINTS {
        assert_eq!(is_found(&Method::HEAD, endpoint), endpoint.method == Method::GET, "{endpoint:?}");
    }
}

#[test]
fn post_endpoints_have_known_fields() {
    for endpoint in ENDPOINTS {
        assert_eq!(endpoint.known_fields.is_some(), endpoint.method == Method::POST, "{endpoint:?}");
    }
}

#[test]
fn dialect_of_a_path_agrees_with_the_table() {
    for endpoint in ENDPOINTS {
        assert_eq!(dialect_of(endpoint.path), Some(endpoint.dialect), "{endpoint:?}");
    }
}

#[rstest]
#[case("/api/chat/")]
#[case("/api//chat")]
#[case("/api/ch%61t")]
#[case("/API/chat")]
#[case("/api/../api/chat")]
#[case("/api/chat;x")]
#[case("/v1/chat/completions/")]
#[case("//api/chat")]
fn paths_that_resemble_a_served_path_are_not_served(#[case] path: &str) {
    assert!(!matches!(lookup(&Method::POST, path), Lookup::Served(_)), "{path}");
}

#[rstest]
#[case(Method::POST, "/api/push", 403, Dialect::Ollama)]
#[case(Method::POST, "/api/create", 403, Dialect::Ollama)]
#[case(Method::POST, "/api/copy", 403, Dialect::Ollama)]
#[case(Method::HEAD, "/api/blobs/sha256:0123", 403, Dialect::Ollama)]
#[case(Method::POST, "/api/me", 404, Dialect::Ollama)]
#[case(Method::POST, "/api/experimental/web_fetch", 404, Dialect::Ollama)]
#[case(Method::GET, "/api", 404, Dialect::Ollama)]
#[case(Method::POST, "/v1/audio/transcriptions", 404, Dialect::OpenAi)]
#[case(Method::POST, "/v1/messages", 404, Dialect::Anthropic)]
#[case(Method::POST, "/v1/messages/count_tokens", 404, Dialect::Anthropic)]
#[case(Method::POST, "/v1/messagesx", 404, Dialect::OpenAi)]
#[case(Method::GET, "/api/chat", 405, Dialect::Ollama)]
#[case(Method::POST, "/v1/models", 405, Dialect::OpenAi)]
fn unserved_requests_are_rejected_in_the_dialect_of_their_path(
    #[case] method: Method,
    #[case] path: &str,
    #[case] status: u16,
    #[case] dialect: Dialect,
) {
    let error = rejection(&method, path);
    assert_eq!((error.status.as_u16(), error.dialect), (status, dialect));
    assert_eq!(error.allow.is_some(), status == 405);
}

#[rstest]
#[case("/users")]
#[case("/apiary")]
#[case("/v10/models")]
#[case("")]
fn paths_outside_ollamas_api_are_not_ollama(#[case] path: &str) {
    assert!(matches!(lookup(&Method::GET, path), Lookup::NotOllama));
}

#[rstest]
#[case("/api/chat", None, true)]
#[case("/api/chat", Some(true), true)]
#[case("/api/chat", Some(false), false)]
#[case("/v1/chat/completions", None, false)]
#[case("/v1/chat/completions", Some(true), true)]
#[case("/api/embed", Some(true), false)]
fn streaming_follows_the_request_and_the_default_of_its_dialect(
    #[case] path: &str,
    #[case] requested: Option<bool>,
    #[case] streaming: bool,
) {
    let Lookup::Served(endpoint) = lookup(&Method::POST, path) else { panic!("{path} is not served") };
    assert_eq!(endpoint.is_streaming(requested), streaming);
}
