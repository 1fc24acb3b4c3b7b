use rstest::rstest;

use super::*;

fn refusal(method: &Method, path: &str) -> Refusal {
    match lookup(method, path) {
        Lookup::Refused(refusal) => refusal,
        other => panic!("{method} {path}: {other:?}"),
    }
}

#[test]
fn the_table_is_what_is_served() {
    let row = |endpoint: &Endpoint| {
        let scope = match endpoint.access {
            Access::Anyone => "-",
            Access::SignedIn => "(signed in)",
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

#[test]
fn every_endpoint_is_found_and_head_goes_where_get_does() {
    for endpoint in ENDPOINTS {
        let found =
            |method| matches!(lookup(method, endpoint.path), Lookup::Served(found) if found.path == endpoint.path);
        assert!(found(&endpoint.method), "{endpoint:?}");
        assert_eq!(found(&Method::HEAD), endpoint.method == Method::GET, "{endpoint:?}");
        assert_eq!(endpoint.keys.is_some(), endpoint.method == Method::POST, "{endpoint:?}");
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
fn a_path_that_only_looks_like_a_served_one_is_not_served(#[case] path: &str) {
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
fn what_is_not_served_is_refused_in_the_clients_dialect(
    #[case] method: Method,
    #[case] path: &str,
    #[case] status: u16,
    #[case] dialect: Dialect,
) {
    let refusal = refusal(&method, path);
    assert_eq!((refusal.status.as_u16(), refusal.dialect), (status, dialect));
    assert_eq!(refusal.allow.is_some(), status == 405);
}

#[rstest]
#[case("/users")]
#[case("/apiary")]
#[case("/v10/models")]
#[case("")]
fn other_paths_are_none_of_ollamas(#[case] path: &str) {
    assert!(matches!(lookup(&Method::GET, path), Lookup::Foreign));
}

#[test]
fn only_the_native_api_streams_unless_told_not_to() {
    let streams = |path: &str, asked| match lookup(&Method::POST, path) {
        Lookup::Served(endpoint) => endpoint.streams(asked),
        other => panic!("{other:?}"),
    };
    assert_eq!([None, Some(true), Some(false)].map(|asked| streams("/api/chat", asked)), [true, true, false]);
    assert_eq!([None, Some(true)].map(|asked| streams("/v1/chat/completions", asked)), [false, true]);
    assert!(!streams("/api/embed", Some(true)));
}

#[test]
fn an_error_is_written_as_each_client_reads_it() {
    let written = |dialect: Dialect| {
        let body = dialect.error_body(StatusCode::NOT_FOUND, "model \"x\" not found", Some("model_not_found"));
        String::from_utf8(body.to_vec()).expect("UTF-8")
    };
    insta::assert_snapshot!(written(Dialect::Ollama), @r#"{"error":"model \"x\" not found"}"#);
    insta::assert_snapshot!(written(Dialect::OpenAi), @r#"{"error":{"message":"model \"x\" not found","type":"not_found_error","param":null,"code":"model_not_found"}}"#);
    insta::assert_snapshot!(written(Dialect::Anthropic), @r#"{"type":"error","error":{"type":"not_found_error","message":"model \"x\" not found"}}"#);
}

#[test]
fn an_error_in_a_stream_is_a_frame_of_its_own() {
    let written = |dialect: Dialect| {
        let event = dialect.stream_error(StatusCode::BAD_GATEWAY, "a\nb", None);
        String::from_utf8(event.to_vec()).expect("UTF-8")
    };
    assert_eq!(written(Dialect::Ollama), "{\"error\":\"a\\nb\"}\n");
    assert_eq!(
        written(Dialect::OpenAi),
        "data: {\"error\":{\"message\":\"a\\nb\",\"type\":\"api_error\",\"param\":null,\"code\":null}}\n\n"
    );
    assert_eq!(
        written(Dialect::Anthropic),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"a\\nb\"}}\n\n"
    );
}
