use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::keys::{CHAT, OPENAI_CHAT};

fn chat(body: &str) -> Result<Scanned<'_>, ScanError> {
    scan(body.as_bytes(), &CHAT)
}

#[test]
fn a_request_tells_its_model_and_whether_it_streams() {
    let body = r#" { "messages" : [ { "role" : "user", "content": "\"model\":\"no\"" } ], "stream":false,
        "model" : "smollm2\u003a135m", "options":{"temperature":0.5, "mirostat": 1}, "x_vendor": null } "#;
    let scanned = chat(body).expect("a request");
    assert_eq!(scanned.model(), Some("smollm2:135m"));
    assert_eq!(scanned.stream(), Some(false));
    assert_eq!(scanned.name(), None);
    let keys: Vec<&str> = scanned.members().iter().map(|member| &*member.key).collect();
    assert_eq!(keys, ["messages", "stream", "model", "options", "x_vendor"]);
    let options: Vec<&str> = scanned.members_of("options").iter().map(|member| &*member.key).collect();
    assert_eq!(options, ["temperature", "mirostat"]);
    let model = scanned.member("model").expect("a member");
    assert_eq!(&body[model.value.clone()], r#""smollm2\u003a135m""#);
    assert_eq!(&body[model.span.clone()], r#""model" : "smollm2\u003a135m""#);
}

#[test]
fn what_is_absent_or_null_is_absent() {
    let scanned = chat(r#"{"model":null,"stream":null,"options":null}"#).expect("a request");
    assert_eq!((scanned.model(), scanned.stream()), (None, None));
    assert!(scanned.members_of("options").is_empty());
    assert_eq!(chat("{}").expect("a request").members(), []);
    assert_eq!(chat(r#"{"model":""}"#).expect("a request").model(), Some(""));
}

#[test]
fn a_name_is_read_only_where_ollama_reads_one() {
    let body = br#"{"model":"","name":"m"}"#;
    let show = KnownKeys { top: &["model", "name"], nested: &[] };
    assert_eq!(scan(body, &show).expect("a request").name(), Some("m"));
    assert_eq!(scan(body, &CHAT).expect("a request").name(), None);
}

#[rstest]
#[case::twice(r#"{"model":"a","model":"b"}"#)]
#[case::case(r#"{"model":"a","MODEL":"b"}"#)]
#[case::case_alone(r#"{"Model":"a"}"#)]
#[case::kelvin("{\"model\":\"a\",\"\u{212a}eep_alive\":0}")]
#[case::kelvin_escaped(r#"{"model":"a","\u212aeep_alive":0}"#)]
#[case::long_s("{\"model\":\"a\",\"me\u{17f}\u{17f}ages\":[]}")]
#[case::long_s_escaped(r#"{"model":"a","me\u017f\u017fages":[]}"#)]
#[case::escape(r#"{"mod\u0065l":"a"}"#)]
#[case::escape_and_plain(r#"{"model":"a","\u006dodel":"b"}"#)]
#[case::unknown_twice(r#"{"x":1,"x":2}"#)]
#[case::unknown_twice_by_escape(r#"{"x":1,"\u0078":2}"#)]
#[case::debugging(r#"{"model":"a","_debug_render_only":true}"#)]
#[case::debugging_escaped(r#"{"model":"a","\u005fdebug_render_only":true}"#)]
#[case::debugging_upper(r#"{"model":"a","_DEBUG_render_only":true}"#)]
#[case::two_options(r#"{"options":{},"options":{"num_ctx":1}}"#)]
#[case::in_options(r#"{"options":{"num_ctx":1,"num_ctx":2}}"#)]
#[case::case_in_options(r#"{"options":{"NUM_CTX":2}}"#)]
#[case::escape_in_options(r#"{"options":{"num\u005fctx":2}}"#)]
#[case::reserved_in_options(r#"{"options":{"_x":2}}"#)]
#[case::surrogate_in_key(r#"{"\ud800":2}"#)]
#[case::surrogate_in_model(r#"{"model":"\udc00"}"#)]
#[case::model_is_number(r#"{"model":1}"#)]
#[case::model_is_list(r#"{"model":["a"]}"#)]
#[case::stream_is_text(r#"{"stream":"true"}"#)]
#[case::options_is_list(r#"{"options":[]}"#)]
#[case::trailing(r#"{"model":"a"}{"model":"b"}"#)]
#[case::trailing_text(r#"{"model":"a"} x"#)]
#[case::trailing_nul("{\"model\":\"a\"}\0")]
#[case::no_object(r#"[{"model":"a"}]"#)]
#[case::empty("")]
#[case::mark("\u{feff}{}")]
#[case::comma(r#"{"model":"a",}"#)]
#[case::comment("{/**/}")]
#[case::cut(r#"{"model":"a"#)]
#[case::nested_broken(r#"{"messages":[{"role":}]}"#)]
#[case::nested_mismatch(r#"{"messages":[{"role":1]}}"#)]
#[case::number(r#"{"x":01}"#)]
#[case::number_dot(r#"{"x":1.}"#)]
#[case::number_plus(r#"{"x":+1}"#)]
#[case::number_word(r#"{"x":NaN}"#)]
#[case::escape_unknown(r#"{"x":"\x41"}"#)]
#[case::escape_short(r#"{"x":"\u12"}"#)]
#[case::control("{\"x\":\"a\nb\"}")]
fn what_go_would_read_otherwise_is_refused(#[case] body: &str) {
    assert!(chat(body).is_err(), "{:?}", chat(body));
}

#[test]
fn a_refusal_names_the_key_and_what_to_write() {
    let told = |body| chat(body).expect_err("a refusal").to_string();
    let all = [
        told(r#"{"model":"a","model":"b"}"#),
        told(r#"{"MODEL":"a"}"#),
        told(r#"{"_debug_render_only":true}"#),
        told(r#"{"model":7}"#),
        told(r#"{"model" "a"}"#),
        scan(b"{\"a\":\"\xff\"}", &CHAT).expect_err("a refusal").to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    the key "model" is given more than once
    write the key "model" in exactly this way
    the key "_debug_render_only" is not accepted
    "model" must be a string
    the body is not valid JSON: byte 9: expected a colon
    the body is not valid UTF-8: byte 6
    "#);
}

#[test]
fn what_go_reads_in_one_way_passes() {
    for body in [
        r#"{"model":"a","metadata":{"a":1,"a":2,"_x":3}}"#,
        r#"{"model":"a","Größe":1,"größe":2}"#,
        r#"{"model":"a","messages":[{"role":"user","Role":"x"}]}"#,
        r#"{"model":"a","keepalive":1,"models":2}"#,
        r#"{"model":"a","prompt":"\ud83d half a pair in a text","x":-0.5e-7}"#,
    ] {
        assert!(chat(body).is_ok(), "{body}: {:?}", chat(body));
    }
}

#[test]
fn depth_and_number_of_members_are_bounded() {
    let nested = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(chat(&nested(127)).is_ok());
    assert_eq!(chat(&nested(128)), Err(ScanError::TooDeep { at: 5 + 127 }));
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
fn usage_is_asked_for_and_nothing_else_is_touched(#[case] body: &str, #[case] spliced: &str) {
    let scanned = openai(body);
    assert!(!scanned.asks_usage());
    let edit = scanned.ask_usage().expect("an edit");
    assert_eq!(splice(body.as_bytes(), &[edit]), spliced.as_bytes());
}

#[test]
fn usage_that_the_client_asks_for_itself_needs_no_edit() {
    let scanned = openai(r#"{"stream_options":{"include_usage":true}}"#);
    assert!(scanned.asks_usage());
    assert_eq!(scanned.ask_usage(), None);
}

#[test]
fn several_edits_are_applied_in_order() {
    let edit = |span, with: &'static str| Edit { span, with: with.into() };
    let edits = [edit(0..0, "<"), edit(1..3, ""), edit(5..6, "FFF"), edit(6..6, ">")];
    assert_eq!(splice(b"abcdef", &edits), "<adeFFF>".as_bytes());
    assert_eq!(splice(b"abc", &[]), "abc".as_bytes());
}

/// Documents of any shape, some as clients write them.
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

const NONE: KnownKeys = KnownKeys { top: &[], nested: &[] };

/// Whether the scanner and `serde_json` agree on what is a JSON object, apart from the rules on keys.
fn judged_alike(body: &[u8]) -> bool {
    let object = body.trim_ascii_start().first() == Some(&b'{');
    let json = str::from_utf8(body).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    match scan(body, &NONE) {
        Err(ScanError::Reserved(_) | ScanError::Duplicate(_)) => true,
        scanned => scanned.is_ok() == (object && json),
    }
}

proptest! {
    #[test]
    fn every_document_passes_whatever_its_layout(value in document(), pretty in any::<bool>()) {
        let body = json!({ "x": value });
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let text = text.expect("JSON");
        let scanned = scan(text.as_bytes(), &NONE).expect("a document");
        let member = scanned.member("x").expect("the member");
        let read: Value = serde_json::from_str(&text[member.value.clone()]).expect("JSON");
        prop_assert_eq!(&read, &body["x"]);
    }

    /// One byte changed, added or taken away: both readers agree on whether it is still JSON.
    #[test]
    fn a_damaged_document_is_judged_as_serde_json_does(
        value in document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3
    ) {
        let mut body = serde_json::to_vec(&json!({ "x": value })).expect("JSON");
        let at = at.index(body.len());
        match how {
            0 => body[at] = byte,
            1 => body.insert(at, byte),
            _ => { body.remove(at); }
        }
        prop_assert!(judged_alike(&body), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&bytes, &CHAT);
    }

    #[test]
    fn a_text_of_json_letters_is_judged_as_serde_json_does(text in r#"\{[{}\[\]",:\\u0-9a-f tre.E+-]{0,60}"#) {
        prop_assert!(judged_alike(text.as_bytes()), "{text}");
    }

    #[test]
    fn a_spliced_request_is_the_request_that_asks_for_usage(
        mut body in proptest::collection::btree_map("[a-z]{1,6}", document(), 0..5),
        options in proptest::option::of(proptest::collection::btree_map("[a-z]{1,6}", document(), 0..3)),
        asked in proptest::option::of(any::<bool>()),
    ) {
        for key in OPENAI_CHAT.top {
            body.remove(*key);
        }
        let mut expected = json!(body);
        if let Some(options) = options {
            expected["stream_options"] = json!(options);
            if let Some(asked) = asked {
                expected["stream_options"]["include_usage"] = json!(asked);
            }
        }
        let text = serde_json::to_string(&expected).expect("JSON");
        let edit = openai(&text).ask_usage();
        prop_assert_eq!(edit.is_none(), expected["stream_options"]["include_usage"] == json!(true));
        let spliced = splice(text.as_bytes(), edit.as_slice());
        expected["stream_options"]["include_usage"] = json!(true);
        prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).expect("JSON"), expected);
        prop_assert!(openai(str::from_utf8(&spliced).expect("UTF-8")).asks_usage());
    }
}
