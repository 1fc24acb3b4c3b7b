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
fn a_list_has_what_the_caller_may_use_and_this_ollama_runs() {
    insta::assert_snapshot!(text(filter_tags(TAGS.as_bytes(), all_but_secret)), @r#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-01-01T00:00:00Z","size":98,"digest":"ab","details":{"z":1,"a":2}}]}"#);
    assert_eq!(text(filter_tags(TAGS.as_bytes(), |_| false)), r#"{"models":[]}"#);
}

#[test]
fn an_openai_list_is_filtered_by_id() {
    let list =
        br#"{"object":"list","data":[{"id":"smollm2:135m","object":"model"},{"id":"secret:latest"},{"id":"m:cloud"}]}"#;
    insta::assert_snapshot!(text(filter_openai_models(list, all_but_secret)), @r#"{"object":"list","data":[{"id":"smollm2:135m","object":"model"}]}"#);
}

#[test]
fn a_list_of_nothing_is_empty_and_another_answer_is_an_error() {
    assert_eq!(text(filter_tags(br#"{"models":null}"#, all_but_secret)), r#"{"models":[]}"#);
    assert_eq!(
        text(filter_openai_models(br#"{"object":"list","data":null}"#, all_but_secret)),
        r#"{"object":"list","data":[]}"#
    );
    assert!(filter_tags(b"502 Bad Gateway", all_but_secret).is_err());
}
