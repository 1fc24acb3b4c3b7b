//! The removal of usage that the client did not request.

use bytes::Bytes;
use rstest::rstest;

use super::*;

#[test]
fn filter_removes_only_the_usage_chunk() {
    let (out, summary) = run(filtering_meter(), [openai(USAGE_CHUNK).as_bytes()]);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), openai(""));
    assert!(summary.is_complete);
    assert_eq!(tokens(&summary), (31, 7));
}

#[test]
fn chunks_without_the_usage_chunk_pass_at_once_and_uncopied() {
    let stream = openai("");
    let mut meter = filtering_meter();
    for event in stream.split_inclusive("\n\n") {
        let chunk = Bytes::copy_from_slice(event.as_bytes());
        let output = meter.feed(chunk.clone());
        assert_eq!(output.concat(), chunk);
        assert_eq!((output.len(), output[0].as_ptr()), (1, chunk.as_ptr()), "no copy");
    }
}

#[test]
fn event_is_held_until_its_end() {
    let stream = openai(USAGE_CHUNK);
    let mut meter = filtering_meter();
    let end = stream.find("\n\n").expect("an end") + 2;
    assert!(meter.feed(Bytes::copy_from_slice(&stream.as_bytes()[..end - 1])).is_empty());
    let released = meter.feed(Bytes::copy_from_slice(&stream.as_bytes()[end - 1..=end]));
    assert_eq!(released.concat(), &stream.as_bytes()[..end]);
}

#[rstest]
#[case::zero(r#"{"choices":[{"text":",\"usage\":null"}],"model":"m","usage":{"prompt_tokens":0,"total_tokens":0}}"#)]
#[case::details(r#"{"choices":[{"text":",\"usage\":null"}],"model":"m","usage":{"prompt_tokens":0,"prompt_tokens_details":{"cached_tokens":1}}}"#)]
#[case::null(r#"{"choices":[{"text":",\"usage\":null"}],"model":"m","usage":null}"#)]
fn filter_removes_the_usage_of_other_chunks(#[case] chunk: &str) {
    let stream = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let expected = "data: {\"choices\":[{\"text\":\",\\\"usage\\\":null\"}],\"model\":\"m\"}\n\ndata: [DONE]\n\n";
    for length in [stream.len(), 7, 1] {
        let (out, _) = run(filtering_meter(), stream.as_bytes().chunks(length));
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}

#[test]
fn long_event_is_not_held() {
    let mut meter = filtering_meter();
    let mut sent = meter.feed(Bytes::from_static(b"data: {\"id\":\"")).concat();
    for _ in 0..40 {
        sent.extend(meter.feed(Bytes::from(vec![b'x'; 1024])).concat());
    }
    assert_eq!(sent.len(), 13 + 40 * 1024);
}

#[test]
fn held_bytes_of_a_truncated_event_are_dropped() {
    let stream = openai(USAGE_CHUNK);
    let at = stream.find("\"choices\":[],\"usage\"").expect("usage") + 15;
    let (out, summary) = run(filtering_meter(), [&stream.as_bytes()[..at]]);
    let out = String::from_utf8(out).expect("UTF-8");
    assert!(out.ends_with("\n\n") && stream.starts_with(&out));
    assert!(error_event(&summary).expect("an event").starts_with(b"data: "));
}

#[test]
fn comments_other_fields_and_carriage_returns_pass_the_filter() {
    let stream = ": ping\r\n\r\nevent: x\ndata: {\"choices\":[],\"usage\":{}}\n\n\n\ndata:{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\r\n\r\ndata: [DONE]\r\n\r\n";
    let (out, summary) = run(filtering_meter(), [stream.as_bytes()]);
    let expected = ": ping\r\n\r\nevent: x\ndata: {\"choices\":[],\"usage\":{}}\n\n\n\ndata: [DONE]\r\n\r\n";
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    assert!(summary.is_complete);
    assert_eq!(tokens(&summary), (1, 2));
}
