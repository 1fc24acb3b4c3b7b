//! Streams of server-sent events: OpenAI's chats and responses, Anthropic's messages.

use http::StatusCode;
use rstest::rstest;

use super::*;

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
