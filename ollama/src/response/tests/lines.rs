//! Streams of the native API.

use rstest::rstest;

use super::*;

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
fn load_only_response_is_complete_without_a_line_feed() {
    let response = r#"{"model":"m","created_at":"x","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}"#;
    let summary = summarize(stream_meter("/api/chat"), response);
    assert!(summary.is_complete);
    assert_eq!(summary.usage, Usage::default());
}

#[test]
fn last_line_of_generate_may_contain_a_long_context() {
    let context: Vec<String> = (0..200_000).map(|token: u32| token.to_string()).collect();
    let response = format!(
        "{{\"response\":\"a\",\"done\":false}}\n{{\"response\":\"\",\"done\":true,\"context\":[{}],\"prompt_eval_count\":5,\"eval_count\":6}}\n",
        context.join(",")
    );
    let (_, summary) = run(stream_meter("/api/generate"), response.as_bytes().chunks(4096));
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

fn chat_with_error_line() -> ResponseSummary {
    let response = format!("{}{}\n", chat_lines(1), r#"{"error":"an error was \"met\" \u00e9"}"#);
    summarize(stream_meter("/api/chat"), &response)
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
