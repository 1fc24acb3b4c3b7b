use bytes::Bytes;
use http::{Method, StatusCode};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::endpoints::{Endpoint, Lookup, lookup};

fn endpoint(path: &str) -> &'static Endpoint {
    match lookup(&Method::POST, path) {
        Lookup::Served(endpoint) => endpoint,
        other => panic!("{path}: {other:?}"),
    }
}

fn stream_meter(path: &str) -> Meter {
    Meter::new(endpoint(path), true, false)
}

fn object_meter(path: &str) -> Meter {
    Meter::new(endpoint(path), false, false)
}

/// Feeds the chunks. Returns the output and the summary.
fn run<'a>(mut meter: Meter, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, AnswerSummary) {
    let mut out = Vec::new();
    for chunk in chunks {
        for output in meter.feed(Bytes::copy_from_slice(chunk)) {
            out.extend_from_slice(&output);
        }
    }
    (out, meter.finish())
}

/// Feeds an answer in one chunk, checks that it passes unchanged, and returns the summary.
fn summarize(meter: Meter, answer: &str) -> AnswerSummary {
    let (out, summary) = run(meter, [answer.as_bytes()]);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), answer, "the answer passes unchanged");
    summary
}

fn error_event(summary: &AnswerSummary) -> Option<Bytes> {
    summary.error_event(StatusCode::BAD_GATEWAY, "cut", None)
}

fn tokens(summary: &AnswerSummary) -> (u64, u64) {
    (summary.usage.prompt_tokens, summary.usage.completion_tokens)
}

const CHAT: &str = concat!(
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.1Z","message":{"role":"assistant","content":"He \"said\": \\"},"done":false}"#,
    "\n",
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.2Z","message":{"role":"assistant","content":"{\"done\":true}\n"},"done":false}"#,
    "\n",
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.3Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"done":true,"eval_count":9,"error":"x"}}}]},"done":false}"#,
    "\n",
    r#"{"model":"m","created_at":"2026-01-01T00:00:00.4Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":4000000123,"load_duration":1000,"prompt_eval_count":26,"prompt_eval_duration":2000,"eval_count":298,"eval_duration":3000}"#,
    "\n",
);

const USAGE_CHUNK: &str = concat!(
    r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":31,"completion_tokens":7,"total_tokens":38}}"#,
    "\n\n",
);

fn openai(usage: &str) -> String {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"system_fingerprint\":\"fp_ollama\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    [
        &chunk(r#"{"role":"assistant","content":"\"choices\":[],\"usage\":{"}"#, "null"),
        &chunk(r#"{"content":"data: [DONE]\n\n"}"#, "null"),
        &chunk("{}", r#""stop""#),
        usage,
        "data: [DONE]\n\n",
    ]
    .concat()
}

/// The first `count` lines of [`CHAT`].
fn chat_lines(count: usize) -> String {
    CHAT.split_inclusive('\n').take(count).collect()
}

#[test]
fn native_stream_reports_usage_in_its_last_line() {
    let summary = summarize(stream_meter("/api/chat"), CHAT);
    assert!(summary.is_complete);
    assert_eq!(
        summary.usage,
        Usage { prompt_tokens: 26, completion_tokens: 298, is_estimated: false, ..Usage::default() }
    );
}

#[test]
fn complete_stream_gets_no_error_event() {
    assert_eq!(error_event(&summarize(stream_meter("/api/chat"), CHAT)), None);
}

#[rstest]
#[case(1, false, 1)]
#[case(2, false, 2)]
#[case(3, false, 3)]
#[case(4, true, 298)]
fn native_stream_is_complete_only_after_its_last_line(
    #[case] lines: usize,
    #[case] complete: bool,
    #[case] completion_tokens: u64,
) {
    let summary = summarize(stream_meter("/api/chat"), &chat_lines(lines));
    assert_eq!((summary.is_complete, summary.usage.completion_tokens), (complete, completion_tokens));
}

#[test]
fn load_only_answer_is_complete_without_a_line_feed() {
    let answer = r#"{"model":"m","created_at":"x","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}"#;
    let summary = summarize(stream_meter("/api/chat"), answer);
    assert!(summary.is_complete);
    assert_eq!(summary.usage, Usage::default());
}

#[test]
fn last_line_of_generate_may_contain_a_long_context() {
    let context: Vec<String> = (0..200_000).map(|token: u32| token.to_string()).collect();
    let answer = format!(
        "{{\"response\":\"a\",\"done\":false}}\n{{\"response\":\"\",\"done\":true,\"context\":[{}],\"prompt_eval_count\":5,\"eval_count\":6}}\n",
        context.join(",")
    );
    let (_, summary) = run(stream_meter("/api/generate"), answer.as_bytes().chunks(4096));
    assert!(summary.is_complete);
    assert_eq!(tokens(&summary), (5, 6));
}

#[test]
fn truncated_native_stream_has_an_estimated_usage() {
    let summary = summarize(stream_meter("/api/chat"), &chat_lines(2));
    assert!(!summary.is_complete);
    assert_eq!(summary.usage, Usage { prompt_tokens: 0, completion_tokens: 2, is_estimated: true, ..Usage::default() });
}

#[test]
fn truncated_native_stream_gets_an_error_line() {
    let summary = summarize(stream_meter("/api/chat"), &chat_lines(2));
    assert_eq!(error_event(&summary).expect("an event"), "{\"error\":\"cut\"}\n");
}

#[test]
fn error_line_ends_a_truncated_line_first() {
    let lines: Vec<&str> = CHAT.split_inclusive('\n').collect();
    let summary = summarize(stream_meter("/api/chat"), &format!("{}{}", lines[0], &lines[1][..20]));
    assert_eq!(error_event(&summary).expect("an event"), "\n{\"error\":\"cut\"}\n");
}

#[test]
fn truncated_line_does_not_count_as_a_frame() {
    let lines: Vec<&str> = CHAT.split_inclusive('\n').collect();
    let summary = summarize(stream_meter("/api/chat"), &format!("{}{}", lines[0], &lines[1][..20]));
    assert_eq!(summary.usage.completion_tokens, 1);
}

#[test]
fn empty_stream_is_truncated_and_its_usage_estimated() {
    let summary = summarize(stream_meter("/api/chat"), "");
    assert!(!summary.is_complete && summary.usage.is_estimated);
}

fn chat_with_error_line() -> AnswerSummary {
    let answer = format!("{}{}\n", chat_lines(1), r#"{"error":"an error was \"met\" \u00e9"}"#);
    summarize(stream_meter("/api/chat"), &answer)
}

#[test]
fn error_line_is_decoded() {
    let summary = chat_with_error_line();
    assert!(!summary.is_complete);
    assert_eq!(summary.error.as_deref(), Some("an error was \"met\" é"));
}

#[test]
fn stream_that_reported_an_error_gets_no_second_one() {
    assert_eq!(error_event(&chat_with_error_line()), None);
}

#[test]
fn openai_stream_reports_usage_in_its_usage_chunk() {
    let summary = summarize(stream_meter("/v1/chat/completions"), &openai(USAGE_CHUNK));
    assert!(summary.is_complete);
    assert_eq!(
        summary.usage,
        Usage { prompt_tokens: 31, completion_tokens: 7, is_estimated: false, ..Usage::default() }
    );
}

#[test]
fn openai_stream_without_a_usage_chunk_has_an_estimated_usage() {
    let summary = summarize(stream_meter("/v1/chat/completions"), &openai(""));
    assert!(summary.is_complete);
    assert_eq!(summary.usage, Usage { prompt_tokens: 0, completion_tokens: 3, is_estimated: true, ..Usage::default() });
}

#[rstest]
#[case::between_events(0, "data: {\"error\"")]
#[case::inside_an_event(20, "\n\ndata: {\"error\"")]
#[case::inside_the_end_of_an_event(-1, "\n\ndata: {\"error\"")]
fn truncated_openai_stream_gets_an_error_event(#[case] after_first_event: isize, #[case] prefix: &str) {
    let stream = openai(USAGE_CHUNK);
    let first_event = stream.find("\n\n").expect("an end") + 2;
    let length = first_event.checked_add_signed(after_first_event).expect("a position");
    let summary = summarize(stream_meter("/v1/chat/completions"), &stream[..length]);
    assert!(!summary.is_complete);
    let event = summary.error_event(StatusCode::BAD_GATEWAY, "cut", Some("upstream_incomplete")).expect("an event");
    assert!(event.starts_with(prefix.as_bytes()) && event.ends_with(b"\n\n"), "{event:?}");
}

#[test]
fn done_marker_counts_without_its_blank_line() {
    let stream = openai(USAGE_CHUNK);
    assert!(summarize(stream_meter("/v1/chat/completions"), stream.trim_end()).is_complete);
}

#[rstest]
#[case("/api/chat", r#"{"message":{"content":"a","done":false},"done":true,"prompt_eval_count":3,"eval_count":4}"#, true, (3, 4))]
#[case("/api/chat", r#"{"message":{"content":"a"},"done":false,"eval_count":4}"#, false, (0, 0))]
#[case("/api/embed", r#"{"model":"m","embeddings":[[0.1,-2e-3],[1]],"total_duration":5,"prompt_eval_count":8}"#, true, (8, 0))]
#[case("/api/embed", r#"{"model":"m","embeddings":[[0.1,"#, false, (0, 0))]
#[case("/v1/chat/completions", "{ \"choices\" : [ {\"message\":{}} ],\n \"usage\" : { \"prompt_tokens\" : 5 , \"completion_tokens\" :6, \"total_tokens\":11 } }\n", true, (5, 6))]
fn object_answer_is_complete_when_its_object_is(
    #[case] path: &str,
    #[case] answer: &str,
    #[case] complete: bool,
    #[case] expected: (u64, u64),
) {
    let summary = summarize(object_meter(path), answer);
    assert_eq!((summary.is_complete, tokens(&summary)), (complete, expected));
    assert_eq!(summary.usage.is_estimated, !complete);
}

#[rstest]
#[case::complete(r#"{"message":{"content":"a"},"done":true}"#)]
#[case::truncated(r#"{"message":{"content":"a"#)]
fn object_answer_gets_no_error_event(#[case] answer: &str) {
    assert_eq!(error_event(&summarize(object_meter("/api/chat"), answer)), None);
}

#[rstest]
#[case("/api/chat", r#"{"error":"model 'x' not found"}"#, "model 'x' not found")]
#[case(
    "/v1/chat/completions",
    r#"{"error":{"message":"too long","type":"invalid_request_error","param":null,"code":null}}"#,
    "too long"
)]
fn error_answer_has_no_usage(#[case] path: &str, #[case] answer: &str, #[case] error: &str) {
    let summary = summarize(object_meter(path), answer);
    assert!(!summary.is_complete);
    assert_eq!(summary.error.as_deref(), Some(error));
    assert_eq!(summary.usage, Usage::default());
}

fn filtering_meter() -> Meter {
    Meter::new(endpoint("/v1/chat/completions"), true, true)
}

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
fn truncated_completion_has_an_estimated_usage() {
    let part = "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n";
    let summary = summarize(stream_meter("/v1/completions"), &part.repeat(2));
    assert_eq!(summary.usage, Usage { completion_tokens: 2, is_estimated: true, ..Usage::default() });
}

const MESSAGES: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":9,\"output_tokens\":0}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"message_stop\",\"text\":\"a\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":21,\"cache_read_input_tokens\":10,\"output_tokens\":5}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

#[test]
fn anthropic_stream_reports_usage_in_its_message_delta() {
    let summary = summarize(stream_meter("/v1/messages"), MESSAGES);
    assert!(summary.is_complete);
    let usage = Usage { prompt_tokens: 31, cached_prompt_tokens: Some(10), completion_tokens: 5, is_estimated: false };
    assert_eq!(summary.usage, usage);
}

#[test]
fn truncated_anthropic_stream_has_an_estimated_usage_and_gets_an_error_event() {
    let cut = MESSAGES.find("event: message_delta").expect("an event");
    let summary = summarize(stream_meter("/v1/messages"), &MESSAGES[..cut]);
    assert!(!summary.is_complete);
    assert_eq!(summary.usage, Usage { completion_tokens: 2, is_estimated: true, ..Usage::default() });
    assert!(error_event(&summary).expect("an event").starts_with(b"event: error\ndata: "));
}

const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"error\":null,\"usage\":null}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"usage\":{\"input_tokens\":1}}],\"usage\":{\"input_tokens\":8,\"output_tokens\":3,\"input_tokens_details\":{\"cached_tokens\":2}}}}\n\n",
);

#[test]
fn responses_stream_reports_usage_in_its_last_event() {
    let summary = summarize(stream_meter("/v1/responses"), RESPONSES);
    assert!(summary.is_complete);
    let usage = Usage { prompt_tokens: 8, cached_prompt_tokens: Some(2), completion_tokens: 3, is_estimated: false };
    assert_eq!(summary.usage, usage);
}

#[test]
fn responses_stream_without_its_last_event_is_truncated() {
    let cut = RESPONSES.find("event: response.completed").expect("an event");
    let summary = summarize(stream_meter("/v1/responses"), &RESPONSES[..cut]);
    assert!(!summary.is_complete);
    assert_eq!(summary.usage, Usage { completion_tokens: 1, is_estimated: true, ..Usage::default() });
}

#[test]
fn failed_response_is_an_error() {
    let event = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\",\"message\":\"why\"}}}\n\n";
    assert_eq!(summarize(stream_meter("/v1/responses"), event).error.as_deref(), Some("why"));
}

#[rstest]
#[case(
    "/api/chat",
    r#"{"done":true,"prompt_eval_count":30,"prompt_eval_cached_count":20,"eval_count":1}"#,
    30,
    Some(20)
)]
#[case("/v1/chat/completions", r#"{"choices":[{}],"usage":{"prompt_tokens":30,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens":1}}"#, 30, Some(0))]
#[case(
    "/v1/messages",
    r#"{"type":"message","usage":{"input_tokens":10,"cache_read_input_tokens":20,"output_tokens":1}}"#,
    30,
    Some(20)
)]
#[case("/v1/responses", r#"{"object":"response","usage":{"input_tokens":30,"output_tokens":1}}"#, 30, None)]
fn cached_prompt_tokens_are_a_part_of_the_prompt(
    #[case] path: &str,
    #[case] answer: &str,
    #[case] prompt_tokens: u64,
    #[case] cached_prompt_tokens: Option<u64>,
) {
    let usage = summarize(object_meter(path), answer).usage;
    assert_eq!((usage.prompt_tokens, usage.cached_prompt_tokens), (prompt_tokens, cached_prompt_tokens));
}

/// Returns whether the meter reads a field of the usage, or a count in an object of that name.
fn is_metered(field: &str) -> bool {
    let value = if field.ends_with("_details") { r#"{"cached_tokens":7}"# } else { "7" };
    let answer = format!(r#"{{"choices":[{{}}],"usage":{{"{field}":{value}}}}}"#);
    let usage = summarize(object_meter("/v1/chat/completions"), &answer).usage;
    usage.prompt_tokens + usage.completion_tokens + usage.cached_prompt_tokens.unwrap_or(0) > 0
}

#[test]
fn meter_reads_exactly_the_metered_fields() {
    for field in METERED_FIELDS {
        assert!(is_metered(field), "{field}");
    }
    for field in UNMETERED_FIELDS {
        assert!(!is_metered(field), "{field}");
    }
}

#[test]
fn embedding_without_counts_has_an_estimated_usage() {
    let summary = summarize(object_meter("/api/embeddings"), r#"{"embedding":[0.1,2]}"#);
    assert!(summary.is_complete && summary.usage.is_estimated);
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

/// Splits `bytes` at the given positions.
fn chunks<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut positions: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    positions.extend([0, bytes.len()]);
    positions.sort_unstable();
    positions.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    proptest::collection::vec(any::<prop::sample::Index>(), 0..60)
}

proptest! {
    #[test]
    fn chunking_does_not_change_a_native_stream(cuts in cuts(), length in any::<prop::sample::Index>()) {
        let stream = &CHAT.as_bytes()[..length.index(CHAT.len() + 1)];
        let at_once = run(stream_meter("/api/chat"), [stream]);
        prop_assert_eq!(&at_once.0, stream);
        prop_assert_eq!(run(stream_meter("/api/chat"), chunks(stream, &cuts)), at_once);
    }

    #[test]
    fn chunking_does_not_change_the_filtered_openai_stream(
        cuts in cuts(), length in any::<prop::sample::Index>(), usage_requested in any::<bool>()
    ) {
        let full = openai(USAGE_CHUNK);
        let new = || Meter::new(endpoint("/v1/chat/completions"), true, !usage_requested);
        let (out, summary) = run(new(), chunks(full.as_bytes(), &cuts));
        prop_assert_eq!(out, openai(if usage_requested { USAGE_CHUNK } else { "" }).into_bytes());
        prop_assert_eq!((summary.is_complete, tokens(&summary)), (true, (31, 7)));

        // The output of a truncated stream is the beginning of the expected one, with the same
        // totals.
        let cut = &full.as_bytes()[..length.index(full.len() + 1)];
        let (out, summary) = run(new(), chunks(cut, &cuts));
        let expected = if usage_requested { full.clone() } else { openai("") };
        prop_assert!(expected.as_bytes().starts_with(&out));
        let at_once = run(new(), [cut]).1;
        prop_assert_eq!((summary.is_complete, summary.error, summary.usage), (at_once.is_complete, at_once.error, at_once.usage));
    }

    #[test]
    fn arbitrary_bytes_pass_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..300), cuts in cuts()) {
        for meter in [stream_meter("/api/chat"), object_meter("/api/chat"), object_meter("/api/embed"), stream_meter("/v1/chat/completions")] {
            let (out, _) = run(meter, chunks(&bytes, &cuts));
            prop_assert_eq!(&out, &bytes);
        }
    }

    #[test]
    fn chunking_does_not_change_the_summary(
        text in "(data: |\\{|\\}|\\[|\\]|\"choices\":|\"usage\":|\"done\":|true|\"error\":|\"x|\"|,|1|\\\\|\n|\r|\\[DONE\\]| ){0,40}", cuts in cuts()
    ) {
        for new in [|| stream_meter("/api/chat"), || object_meter("/api/embed"), || stream_meter("/v1/chat/completions"), filtering_meter] {
            let (out, summary) = run(new(), chunks(text.as_bytes(), &cuts));
            let (out_at_once, at_once) = run(new(), [text.as_bytes()]);
            prop_assert!(out == out_at_once || out_at_once.starts_with(&out) || out.starts_with(&out_at_once));
            prop_assert_eq!((summary.is_complete, summary.error, summary.usage), (at_once.is_complete, at_once.error, at_once.usage));
        }
    }
}
