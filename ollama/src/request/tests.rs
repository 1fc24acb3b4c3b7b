use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    endpoints::{Endpoint, Lookup, lookup},
    request::known_fields::{CHAT, OPENAI_CHAT},
};

fn chat(body: &str) -> Result<Scanned<'_>, ScanError> {
    scan(body.as_bytes(), &CHAT)
}

fn member<'s, 'a>(scanned: &'s Scanned<'a>, key: &str) -> &'s Member<'a> {
    scanned.members().iter().find(|member| member.key == key).expect("a member")
}

fn keys<'s>(members: &'s [Member<'_>]) -> Vec<&'s str> {
    members.iter().map(|member| &*member.key).collect()
}

const REQUEST: &str = r#" { "messages" : [ { "role" : "user", "content": "\"model\":\"no\"" } ], "stream":false,
        "model" : "smollm2\u003a135m", "options":{"temperature":0.5, "mirostat": 1}, "x_vendor": null } "#;

#[test]
fn scan_reads_model_and_stream() {
    let scanned = chat(REQUEST).expect("a request");
    assert_eq!((scanned.model(), scanned.stream()), (Some("smollm2:135m"), Some(false)));
    assert_eq!(scanned.name(), None);
}

#[test]
fn scan_lists_members_in_the_order_of_the_body() {
    let scanned = chat(REQUEST).expect("a request");
    assert_eq!(keys(scanned.members()), ["messages", "stream", "model", "options", "x_vendor"]);
    assert_eq!(keys(scanned.members_of("options")), ["temperature", "mirostat"]);
}

#[test]
fn member_spans_cover_the_bytes_as_written() {
    let scanned = chat(REQUEST).expect("a request");
    let model = member(&scanned, "model");
    assert_eq!(&REQUEST[model.value_span.clone()], r#""smollm2\u003a135m""#);
    assert_eq!(&REQUEST[model.span.clone()], r#""model" : "smollm2\u003a135m""#);
}

#[test]
fn null_values_count_as_absent() {
    let scanned = chat(r#"{"model":null,"stream":null,"options":null}"#).expect("a request");
    assert_eq!((scanned.model(), scanned.stream()), (None, None));
    assert!(scanned.members_of("options").is_empty());
}

#[test]
fn empty_object_has_no_members() {
    assert_eq!(chat("{}").expect("a request").members(), []);
}

#[test]
fn empty_model_is_present() {
    assert_eq!(chat(r#"{"model":""}"#).expect("a request").model(), Some(""));
}

#[test]
fn name_is_read_only_where_it_is_a_known_field() {
    let body = br#"{"model":"","name":"m"}"#;
    let show = KnownFields { top_level: &["model", "name"], nested: &[] };
    assert_eq!(scan(body, &show).expect("a request").name(), Some("m"));
    assert_eq!(scan(body, &CHAT).expect("a request").name(), None);
}

#[rstest]
#[case::twice(r#"{"model":"a","model":"b"}"#)]
#[case::unknown_twice(r#"{"x":1,"x":2}"#)]
#[case::unknown_twice_by_escape(r#"{"x":1,"\u0078":2}"#)]
#[case::two_options(r#"{"options":{},"options":{"num_ctx":1}}"#)]
#[case::in_options(r#"{"options":{"num_ctx":1,"num_ctx":2}}"#)]
fn repeated_keys_are_rejected(#[case] body: &str) {
    assert!(matches!(chat(body), Err(ScanError::DuplicateKey { .. })), "{:?}", chat(body));
}

#[rstest]
#[case::case(r#"{"model":"a","MODEL":"b"}"#)]
#[case::case_alone(r#"{"Model":"a"}"#)]
#[case::kelvin("{\"model\":\"a\",\"\u{212a}eep_alive\":0}")]
#[case::kelvin_escaped(r#"{"model":"a","\u212aeep_alive":0}"#)]
#[case::long_s("{\"model\":\"a\",\"me\u{17f}\u{17f}ages\":[]}")]
#[case::long_s_escaped(r#"{"model":"a","me\u017f\u017fages":[]}"#)]
#[case::escape(r#"{"mod\u0065l":"a"}"#)]
#[case::escape_and_plain(r#"{"model":"a","\u006dodel":"b"}"#)]
#[case::case_in_options(r#"{"options":{"NUM_CTX":2}}"#)]
#[case::escape_in_options(r#"{"options":{"num\u005fctx":2}}"#)]
fn other_spellings_of_known_fields_are_rejected(#[case] body: &str) {
    assert!(matches!(chat(body), Err(ScanError::NonCanonicalKey { .. })), "{:?}", chat(body));
}

#[rstest]
#[case::debugging(r#"{"model":"a","_debug_render_only":true}"#)]
#[case::debugging_escaped(r#"{"model":"a","\u005fdebug_render_only":true}"#)]
#[case::debugging_upper(r#"{"model":"a","_DEBUG_render_only":true}"#)]
#[case::reserved_in_options(r#"{"options":{"_x":2}}"#)]
#[case::surrogate_in_key(r#"{"\ud800":2}"#)]
fn reserved_keys_are_rejected(#[case] body: &str) {
    assert!(matches!(chat(body), Err(ScanError::ReservedKey { .. })), "{:?}", chat(body));
}

#[rstest]
#[case::surrogate_in_model(r#"{"model":"\udc00"}"#)]
#[case::model_is_number(r#"{"model":1}"#)]
#[case::model_is_list(r#"{"model":["a"]}"#)]
#[case::stream_is_text(r#"{"stream":"true"}"#)]
#[case::options_is_list(r#"{"options":[]}"#)]
fn values_of_the_wrong_kind_are_rejected(#[case] body: &str) {
    assert!(matches!(chat(body), Err(ScanError::WrongKind { .. })), "{:?}", chat(body));
}

#[rstest]
#[case::trailing(r#"{"model":"a"}{"model":"b"}"#)]
#[case::trailing_text(r#"{"model":"a"} x"#)]
#[case::trailing_nul("{\"model\":\"a\"}\0")]
#[case::no_object(r#"[{"model":"a"}]"#)]
#[case::empty("")]
#[case::byte_order_mark("\u{feff}{}")]
#[case::trailing_comma(r#"{"model":"a",}"#)]
#[case::comment("{/**/}")]
#[case::truncated(r#"{"model":"a"#)]
#[case::nested_broken(r#"{"messages":[{"role":}]}"#)]
#[case::nested_mismatch(r#"{"messages":[{"role":1]}}"#)]
#[case::number(r#"{"x":01}"#)]
#[case::number_dot(r#"{"x":1.}"#)]
#[case::number_plus(r#"{"x":+1}"#)]
#[case::number_word(r#"{"x":NaN}"#)]
#[case::escape_unknown(r#"{"x":"\x41"}"#)]
#[case::escape_short(r#"{"x":"\u12"}"#)]
#[case::control("{\"x\":\"a\nb\"}")]
fn invalid_json_is_rejected(#[case] body: &str) {
    assert!(matches!(chat(body), Err(ScanError::InvalidJson { .. })), "{:?}", chat(body));
}

#[test]
fn errors_name_the_key_and_the_correction() {
    let error = |body| chat(body).expect_err("an error").to_string();
    let all = [
        error(r#"{"model":"a","model":"b"}"#),
        error(r#"{"MODEL":"a"}"#),
        error(r#"{"_debug_render_only":true}"#),
        error(r#"{"model":7}"#),
        error(r#"{"model" "a"}"#),
        scan(b"{\"a\":\"\xff\"}", &CHAT).expect_err("an error").to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    the key "model" is given more than once: byte 13
    write the key "model" in exactly this way: byte 1
    the key "_debug_render_only" is not accepted: byte 1
    "model" must be a string: byte 9
    the body is not valid JSON: byte 9: expected a colon
    the body is not valid UTF-8: byte 6
    "#);
}

#[rstest]
#[case::repeated_keys_in_an_unknown_object(r#"{"model":"a","metadata":{"a":1,"a":2,"_x":3}}"#)]
#[case::case_outside_ascii(r#"{"model":"a","Größe":1,"größe":2}"#)]
#[case::case_in_a_message(r#"{"model":"a","messages":[{"role":"user","Role":"x"}]}"#)]
#[case::similar_keys(r#"{"model":"a","keepalive":1,"models":2}"#)]
#[case::half_a_surrogate_pair_in_a_text(r#"{"model":"a","prompt":"\ud83d half a pair in a text","x":-0.5e-7}"#)]
fn unambiguous_requests_pass(#[case] body: &str) {
    assert!(chat(body).is_ok(), "{:?}", chat(body));
}

#[test]
fn nesting_depth_is_bounded() {
    let nested = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(chat(&nested(127)).is_ok());
    assert_eq!(chat(&nested(128)), Err(ScanError::TooDeep { at: 5 + 127 }));
}

#[test]
fn number_of_members_is_bounded() {
    let wide = |members: usize| {
        let members: Vec<String> = (0..members).map(|key| format!("\"k{key}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(chat(&wide(256)).is_ok());
    assert_eq!(chat(&wide(257)), Err(ScanError::TooManyMembers));
}

fn openai(body: &str) -> Scanned<'_> {
    scan(body.as_bytes(), &OPENAI_CHAT).expect("a request")
}

#[rstest]
#[case("{}", r#"{"stream_options":{"include_usage":true}}"#)]
#[case(r#"{ "model":"m"}"#, r#"{"stream_options":{"include_usage":true}, "model":"m"}"#)]
#[case(r#"{"stream_options":null}"#, r#"{"stream_options":{"include_usage":true}}"#)]
#[case(r#"{"stream_options": {}}"#, r#"{"stream_options": {"include_usage":true}}"#)]
#[case(r#"{"stream_options":{ "x":1}}"#, r#"{"stream_options":{"include_usage":true, "x":1}}"#)]
#[case(r#"{"stream_options":{"include_usage": false}}"#, r#"{"stream_options":{"include_usage": true}}"#)]
#[case(r#"{"stream_options":{"include_usage":null,"x":1}}"#, r#"{"stream_options":{"include_usage":true,"x":1}}"#)]
fn request_usage_changes_only_include_usage(#[case] body: &str, #[case] spliced: &str) {
    let edit = openai(body).request_usage().expect("an edit");
    assert_eq!(splice(body.as_bytes(), &[edit]), spliced.as_bytes());
}

#[test]
fn request_usage_is_none_when_the_client_requests_usage() {
    assert_eq!(openai(r#"{"stream_options":{"include_usage":true}}"#).request_usage(), None);
}

/// Applies the removal of the members with these keys.
fn without(body: &str, keys: &[&str]) -> String {
    let edits = chat(body).expect("a request").remove_members(|member| keys.contains(&&*member.key));
    String::from_utf8(splice(body.as_bytes(), &edits).to_vec()).expect("UTF-8")
}

#[rstest]
#[case::first(&["a"], r#"{ "b" :2, "c":3 }"#)]
#[case::middle(&["b"], r#"{ "a": 1, "c":3 }"#)]
#[case::last(&["c"], r#"{ "a": 1, "b" :2 }"#)]
#[case::first_two(&["a", "b"], r#"{ "c":3 }"#)]
#[case::last_two(&["b", "c"], r#"{ "a": 1 }"#)]
#[case::outer(&["a", "c"], r#"{ "b" :2 }"#)]
#[case::all(&["a", "b", "c"], "{  }")]
#[case::none(&["x"], r#"{ "a": 1, "b" :2, "c":3 }"#)]
fn removed_members_take_one_comma_along(#[case] removed: &[&str], #[case] left: &str) {
    assert_eq!(without(r#"{ "a": 1, "b" :2, "c":3 }"#, removed), left);
}

#[test]
fn members_of_a_nested_object_are_removed() {
    let body = r#"{"options":{"num_ctx":1,"seed":2,"numa":true},"model":"m"}"#;
    let edits = chat(body).expect("a request").remove_members_of("options", |member| member.key != "seed");
    assert_eq!(splice(body.as_bytes(), &edits), r#"{"options":{"seed":2},"model":"m"}"#.as_bytes());
}

fn endpoint(path: &str) -> &'static Endpoint {
    match lookup(&http::Method::POST, path) {
        Lookup::Served(endpoint) => endpoint,
        other => panic!("{path}: {other:?}"),
    }
}

#[rstest]
#[case("/api/generate", r#"{"model":"m"}"#, true)]
#[case("/api/generate", r#"{"model":"m","prompt":""}"#, true)]
#[case("/api/generate", r#"{"model":"m","prompt":null,"system":"s"}"#, true)]
#[case("/api/generate", r#"{"model":"m","prompt":" "}"#, false)]
#[case("/api/chat", r#"{"model":"m","prompt":"x"}"#, true)]
#[case("/api/chat", r#"{"model":"m","messages":[ ]}"#, true)]
#[case("/api/chat", r#"{"model":"m","messages":[{}]}"#, false)]
#[case("/api/embed", r#"{"model":"m","input":[]}"#, true)]
#[case("/api/embed", r#"{"model":"m","input":[""]}"#, false)]
#[case("/api/embeddings", r#"{"model":"m","prompt":""}"#, true)]
#[case("/api/embeddings", r#"{"model":"m","prompt":"x"}"#, false)]
#[case("/api/show", r#"{"model":"m"}"#, false)]
// The other APIs have no such request: Ollama does not read `keep_alive` there.
#[case("/v1/responses", r#"{"model":"m","input":"x"}"#, false)]
#[case("/v1/chat/completions", r#"{"model":"m","messages":[]}"#, false)]
fn request_without_input_only_loads_its_model(#[case] path: &str, #[case] body: &str, #[case] load_only: bool) {
    let endpoint = endpoint(path);
    let scanned = scan(body.as_bytes(), endpoint.known_fields.expect("a body")).expect("a request");
    assert_eq!(scanned.is_load_only(endpoint), load_only);
}

#[rstest]
#[case(r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#, true)]
#[case(r#"{"tools":[{"name":"f"},{"Type":"web_search"}]}"#, true)]
#[case(r#"{"tools":[{"type":"\u0077eb_search"}]}"#, true)]
#[case(r#"{"tools":[{"type":"function","type":"web_search"}]}"#, true)]
#[case(r#"{"tools":[null,{"type":"web_search"}]}"#, true)]
#[case(r#"{"tools":[{"x":1e999,"type":"web_search_20250305"}]}"#, true)]
#[case(r#"{"tools":[{"x":"\ud800","type":"web_search\ud800"}]}"#, true)]
#[case(r#"{"tools":[{"\ud800":0,"typ\u0065":"web_search"}]}"#, true)]
#[case(r#"{"tools":[[{"type":"web_search"}],{"a":{"type":"web_search"}}]}"#, false)]
#[case(r#"{"tools":[{"type":"function","name":"web_search"}]}"#, false)]
#[case(r#"{"tools":null}"#, false)]
#[case(r#"{"messages":[{"type":"web_search"}]}"#, false)]
fn web_search_is_found_in_the_type_of_a_tool(#[case] body: &str, #[case] searches: bool) {
    let scanned = scan(body.as_bytes(), &known_fields::MESSAGES).expect("a request");
    assert_eq!(scanned.searches_web(), searches);
}

#[test]
fn size_of_the_prompt_is_that_of_what_the_model_reads() {
    assert_eq!(chat(r#"{"model":"m","messages":[1,2],"x":"long"}"#).expect("a request").prompt_bytes(), 5);
}

#[test]
fn splice_applies_edits_in_order() {
    let edit = |span, text: &'static str| Edit { span, replacement: text.into() };
    let edits = [edit(0..0, "<"), edit(1..3, ""), edit(5..6, "FFF"), edit(6..6, ">")];
    assert_eq!(splice(b"abcdef", &edits), "<adeFFF>".as_bytes());
}

#[test]
fn splice_without_edits_returns_the_body() {
    assert_eq!(splice(b"abc", &[]), "abc".as_bytes());
}

/// Generates JSON documents of any shape, some of them with the keys of real requests.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\\u{0}-\u{1f}é😀]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key = prop_oneof![any::<String>(), "model|Model|options|num_ctx|stream|_x|x"];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const NO_FIELDS: KnownFields = KnownFields { top_level: &[], nested: &[] };

/// Returns whether the scan accepts exactly what `serde_json` parses as an object. Errors about
/// keys are not compared.
fn agrees_with_serde_json(body: &[u8]) -> bool {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let is_json = str::from_utf8(body).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    match scan(body, &NO_FIELDS) {
        Err(ScanError::ReservedKey { .. } | ScanError::DuplicateKey { .. }) => true,
        scanned => scanned.is_ok() == (is_object && is_json),
    }
}

proptest! {
    #[test]
    fn valid_documents_pass_in_any_layout(value in document(), pretty in any::<bool>()) {
        let body = json!({ "x": value });
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let text = text.expect("JSON");
        let scanned = scan(text.as_bytes(), &NO_FIELDS).expect("a document");
        let value_span = member(&scanned, "x").value_span.clone();
        let read: Value = serde_json::from_str(&text[value_span]).expect("JSON");
        prop_assert_eq!(&read, &body["x"]);
    }

    /// Changes, inserts or removes one byte.
    #[test]
    fn damaged_documents_are_rejected_as_by_serde_json(
        value in document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3
    ) {
        let mut body = serde_json::to_vec(&json!({ "x": value })).expect("JSON");
        let at = at.index(body.len());
        match how {
            0 => body[at] = byte,
            1 => body.insert(at, byte),
            _ => { body.remove(at); }
        }
        prop_assert!(agrees_with_serde_json(&body), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn scan_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&bytes, &CHAT);
    }

    #[test]
    fn texts_of_json_characters_are_rejected_as_by_serde_json(text in r#"\{[{}\[\]",:\\u0-9a-f tre.E+-]{0,60}"#) {
        prop_assert!(agrees_with_serde_json(text.as_bytes()), "{text}");
    }

    #[test]
    fn spliced_request_differs_only_in_include_usage(
        mut body in proptest::collection::btree_map("[a-z]{1,6}", document(), 0..5),
        options in proptest::option::of(proptest::collection::btree_map("[a-z]{1,6}", document(), 0..3)),
        include_usage in proptest::option::of(any::<bool>()),
    ) {
        for key in OPENAI_CHAT.top_level {
            body.remove(*key);
        }
        let mut expected = json!(body);
        if let Some(options) = options {
            expected["stream_options"] = json!(options);
            if let Some(include_usage) = include_usage {
                expected["stream_options"]["include_usage"] = json!(include_usage);
            }
        }
        let text = serde_json::to_string(&expected).expect("JSON");
        let edit = openai(&text).request_usage();
        prop_assert_eq!(edit.is_none(), expected["stream_options"]["include_usage"] == json!(true));
        let spliced = splice(text.as_bytes(), edit.as_slice());
        expected["stream_options"]["include_usage"] = json!(true);
        prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).expect("JSON"), expected);
        prop_assert_eq!(openai(str::from_utf8(&spliced).expect("UTF-8")).request_usage(), None);
    }
}
