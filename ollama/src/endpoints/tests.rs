use rstest::rstest;

use super::*;
use crate::path::is_below;

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
            Access::Scope(scope) | Access::AdminScope(scope) => scope,
        };
        format!("{} {} {scope} {:?} {:?}", endpoint.method, endpoint.path, endpoint.dialect, endpoint.operation)
    };
    let table: Vec<String> = ENDPOINTS.iter().map(row).collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    GET / - Ollama Root
    GET /api/version (signed in) Ollama Version
    GET /api/tags models:read Ollama ListModels
    GET /api/ps models:read Ollama ListLoaded
    POST /api/show models:read Ollama ShowModel
    POST /api/chat chat Ollama Chat
    POST /api/generate generate Ollama Generate
    POST /api/embed embed Ollama Embed
    POST /api/embeddings embed Ollama Embed
    POST /api/pull models:write Ollama Pull
    DELETE /api/delete models:write Ollama Delete
    GET /v1/models models:read OpenAi ListModels
    GET /v1/models/{model} models:read OpenAi RetrieveModel
    POST /v1/chat/completions chat OpenAi Chat
    POST /v1/completions generate OpenAi Generate
    POST /v1/embeddings embed OpenAi Embed
    POST /v1/responses chat OpenAi Chat
    POST /v1/responses/compact chat OpenAi Compact
    POST /v1/messages chat Anthropic Chat
    POST /v1/messages/count_tokens chat Anthropic CountTokens
    ");
}

fn is_found(method: &Method, endpoint: &Endpoint) -> bool {
    let path = endpoint.path.replace("{model}", "library/m:latest");
    matches!(lookup(method, &path), Lookup::Served(found) if found.path == endpoint.path)
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
fn all_endpoints_but_get_have_known_fields() {
    for endpoint in ENDPOINTS {
        assert_eq!(endpoint.known_fields.is_some(), endpoint.method != Method::GET, "{endpoint:?}");
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
#[case(Method::POST, "/v1/messages/batches", 404, Dialect::Anthropic)]
#[case(Method::POST, "/v1/messagesx", 404, Dialect::OpenAi)]
#[case(Method::GET, "/api/chat", 405, Dialect::Ollama)]
#[case(Method::POST, "/api/delete", 405, Dialect::Ollama)]
#[case(Method::POST, "/v1/models", 405, Dialect::OpenAi)]
#[case(Method::DELETE, "/v1/models/m", 405, Dialect::OpenAi)]
#[case(Method::GET, "/v1/messages", 405, Dialect::Anthropic)]
fn unserved_requests_are_rejected_in_the_dialect_of_their_path(
    #[case] method: Method,
    #[case] path: &str,
    #[case] status: u16,
    #[case] dialect: Dialect,
) {
    let error = rejection(&method, path);
    assert_eq!((error.status().as_u16(), error.dialect), (status, dialect));
    assert_eq!(matches!(error.kind, RouteErrorKind::WrongMethod { .. }), status == 405);
}

#[rstest]
#[case(Method::GET, "/api/codex/_health")]
#[case(Method::POST, "/api/experimental/web_search")]
#[case(Method::DELETE, "/api/user/keys/x")]
fn unserved_paths_of_ollama_are_not_called_unknown(#[case] method: Method, #[case] path: &str) {
    assert_eq!(rejection(&method, path).kind, RouteErrorKind::Unserved);
}

#[test]
fn no_endpoint_is_below_a_rejected_path() {
    for rejected in FORBIDDEN_PATHS.iter().chain(UNSERVED_PATHS) {
        for endpoint in ENDPOINTS {
            assert!(!is_below(endpoint.path, rejected), "{endpoint:?} is below {rejected}");
        }
    }
}

#[rstest]
#[case(Method::POST, "//api/chat", "/api/chat", Dialect::Ollama)]
#[case(Method::POST, "/api/chat/", "/api/chat", Dialect::Ollama)]
#[case(Method::GET, "/v1/api/tags", "/api/tags", Dialect::Ollama)]
#[case(Method::POST, "/api/api/generate", "/api/generate", Dialect::Ollama)]
#[case(Method::POST, "/v1/v1/messages", "/v1/messages", Dialect::Anthropic)]
#[case(Method::POST, "/v1/v1/chat/completions", "/v1/chat/completions", Dialect::OpenAi)]
#[case(Method::POST, "/api/v1/embeddings", "/v1/embeddings", Dialect::OpenAi)]
#[case(Method::POST, "/chat/completions", "/v1/chat/completions", Dialect::OpenAi)]
#[case(Method::POST, "/embeddings", "/v1/embeddings", Dialect::OpenAi)]
#[case(Method::POST, "/api/chat/completions", "/v1/chat/completions", Dialect::OpenAi)]
#[case(Method::POST, "/messages", "/v1/messages", Dialect::Anthropic)]
#[case(Method::GET, "/tags", "/api/tags", Dialect::Ollama)]
fn wrong_base_url_is_named_in_the_dialect_that_is_meant(
    #[case] method: Method,
    #[case] path: &str,
    #[case] meant: &str,
    #[case] dialect: Dialect,
) {
    let error = rejection(&method, path);
    assert_eq!((error.kind, error.dialect), (RouteErrorKind::WrongBaseUrl, dialect));
    assert!(error.reason.contains(meant), "{}", error.reason);
}

#[rstest]
#[case("/v1/models/smollm2:135m", Some("smollm2:135m"))]
#[case("/v1/models/hf.co/user/model:q4", Some("hf.co/user/model:q4"))]
#[case("/v1/models/library%2Fsmollm2", Some("library%2Fsmollm2"))]
#[case("/v1/models", None)]
fn model_of_a_path_is_the_rest_of_it(#[case] path: &str, #[case] model: Option<&str>) {
    let Lookup::Served(endpoint) = lookup(&Method::GET, path) else { panic!("{path} is not served") };
    assert_eq!(endpoint.model_in(path), model);
}

#[rstest]
#[case("/users")]
#[case("/apiary")]
#[case("/v10/models")]
#[case("/models")]
#[case("/models/pull")]
#[case("/ollama/chat")]
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
#[case("/v1/messages", None, false)]
#[case("/v1/responses", Some(true), true)]
#[case("/api/embed", Some(true), false)]
fn streaming_follows_the_request_and_the_default_of_its_dialect(
    #[case] path: &str,
    #[case] requested: Option<bool>,
    #[case] streaming: bool,
) {
    let Lookup::Served(endpoint) = lookup(&Method::POST, path) else { panic!("{path} is not served") };
    assert_eq!(endpoint.is_streaming(requested), streaming);
}
