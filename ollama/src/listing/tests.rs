use super::*;

const TAGS: &str = r#"{"models":[
    {"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-01T00:00:00Z","size":98,"digest":"ab","details":{"z":1,"a":2}},
    {"name":"secret:latest","model":"secret:latest","size":1,"digest":"cd"},
    {"name":"far:latest","model":"far:latest","remote_model":"far","remote_host":"https://ollama.com:443","size":1,"digest":"ef"},
    {"name":"gpt-oss:20b-cloud","model":"gpt-oss:20b-cloud","size":1,"digest":"01"},
    {"name":"a:local","model":"a:local","size":1,"digest":"23"},
    {"size":1}
]}"#;

fn all_but_secret(name: &ModelName) -> bool {
    name.model() != "secret"
}

fn text(list: Result<Bytes, serde_json::Error>) -> String {
    String::from_utf8(list.expect("a list").to_vec()).expect("UTF-8")
}

#[test]
fn tags_keep_local_models_that_the_caller_may_use() {
    insta::assert_snapshot!(text(filter_tags(TAGS.as_bytes(), all_but_secret)), @r#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-01T00:00:00Z","size":98,"digest":"ab","details":{"z":1,"a":2}}]}"#);
}

#[test]
fn tags_are_empty_if_the_caller_may_use_no_model() {
    assert_eq!(text(filter_tags(TAGS.as_bytes(), |_| false)), r#"{"models":[]}"#);
}

#[test]
fn openai_models_are_filtered_by_id() {
    let list =
        br#"{"object":"list","data":[{"id":"smollm2:135m","object":"model"},{"id":"secret:latest"},{"id":"m:cloud"}]}"#;
    insta::assert_snapshot!(text(filter_openai_models(list, all_but_secret)), @r#"{"object":"list","data":[{"id":"smollm2:135m","object":"model"}]}"#);
}

#[test]
fn null_lists_are_empty() {
    assert_eq!(text(filter_tags(br#"{"models":null}"#, all_but_secret)), r#"{"models":[]}"#);
    assert_eq!(
        text(filter_openai_models(br#"{"object":"list","data":null}"#, all_but_secret)),
        r#"{"object":"list","data":[]}"#
    );
}

#[test]
fn responses_without_a_list_are_errors() {
    assert!(filter_tags(b"502 Bad Gateway", all_but_secret).is_err());
}

const OPENAI: &str = concat!(
    r#"{"object":"list","data":[{"id":"smollm2:135m","object":"model","created":5,"owned_by":"library"},"#,
    r#"{"id":"hf.co/u/m:latest","object":"model","created":6,"owned_by":"u"}]}"#,
    "\n"
);

fn found(written: &str) -> Option<String> {
    let name = ModelName::parse(written).expect("a name");
    let found = find_openai_model(OPENAI.as_bytes(), &name, written).expect("a list");
    found.map(|model| String::from_utf8(model.to_vec()).expect("UTF-8"))
}

#[test]
fn openai_model_is_found_by_any_spelling() {
    let expected = "{\"id\":\"library/SmolLM2:135m\",\"object\":\"model\",\"created\":5,\"owned_by\":\"library\"}\n";
    assert_eq!(found("library/SmolLM2:135m").as_deref(), Some(expected));
    assert!(found("hf.co/u/m").is_some());
    assert_eq!(found("other"), None);
}

#[test]
fn filtered_openai_list_ends_as_ollamas_does() {
    assert_eq!(text(filter_openai_models(OPENAI.as_bytes(), |_| true)), OPENAI);
}

#[test]
fn prompts_of_a_description_are_hidden() {
    let described = Bytes::from_static(
        br#"{"license":"l","modelfile":"FROM x\nSYSTEM s","template":"t","system":"s","details":{"template":"kept"},"messages":[]}"#,
    );
    assert_eq!(
        hide_prompts(&described).expect("an object"),
        r#"{"license":"l","details":{"template":"kept"}}"#.as_bytes()
    );
}

#[test]
fn merged_lists_name_each_model_once() {
    let merge = |bodies: [&'static str; 2]| {
        merge_lists(&bodies.map(|body| Bytes::from_static(body.as_bytes())))
            .map(|merged| String::from_utf8_lossy(&merged).into_owned())
    };
    let tags = [
        r#"{"models":[{"name":"a:1","model":"a:1","size":1}]}"#,
        r#"{"models":[{"name":"b:1","model":"b:1"},{"name":"a:1","model":"a:1"}]}"#,
    ];
    assert_eq!(
        merge(tags).unwrap(),
        r#"{"models":[{"name":"a:1","model":"a:1","size":1},{"name":"b:1","model":"b:1"}]}"#
    );
    let models = [r#"{"object":"list","data":[{"id":"a:1"}]}"#, r#"{"object":"list","data":null}"#];
    assert_eq!(merge(models).unwrap(), r#"{"object":"list","data":[{"id":"a:1"}]}"#);
    assert!(merge(["{}", "x"]).is_err());
}
