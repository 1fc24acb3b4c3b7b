use http::Method;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::endpoints::{Lookup, lookup};

fn endpoint(path: &str) -> &'static Endpoint {
    match lookup(&Method::POST, path) {
        Lookup::Served(endpoint) => endpoint,
        other => panic!("{path}: {other:?}"),
    }
}

fn meter(path: &str) -> Meter {
    Meter::new(endpoint(path), true, false)
}

fn whole(path: &str) -> Meter {
    Meter::new(endpoint(path), false, false)
}

/// Feeds the chunks, and returns what came out and what was learnt.
fn run<'a>(mut meter: Meter, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Outcome) {
    let mut out = Vec::new();
    for chunk in chunks {
        for piece in meter.feed(Bytes::copy_from_slice(chunk)) {
            out.extend_from_slice(&piece);
        }
    }
    (out, meter.finish())
}

fn outcome(meter: Meter, answer: &str) -> Outcome {
    let (out, outcome) = run(meter, [answer.as_bytes()]);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), answer, "what came goes on as it came");
    outcome
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

#[test]
fn a_native_stream_ends_with_what_it_cost() {
    let outcome = outcome(meter("/api/chat"), CHAT);
    assert!(outcome.complete);
    assert_eq!(
        outcome.usage,
        Usage {
            prompt_tokens: 26,
            completion_tokens: 298,
            estimated: false,
            total_duration: Some(Duration::from_nanos(4_000_000_123)),
            load_duration: Some(Duration::from_micros(1)),
            prompt_eval_duration: Some(Duration::from_micros(2)),
            eval_duration: Some(Duration::from_micros(3)),
        }
    );
    assert_eq!(outcome.error_event(StatusCode::BAD_GATEWAY, "cut", None), None);
}

#[test]
fn frames_are_counted_as_they_pass() {
    let mut meter = meter("/api/chat");
    let mut counts = Vec::new();
    for line in CHAT.split_inclusive('\n') {
        meter.feed(Bytes::copy_from_slice(line.as_bytes()));
        counts.push((meter.frames(), meter.is_complete()));
    }
    assert_eq!(counts, [(1, false), (2, false), (3, false), (3, true)]);
}

#[test]
fn a_load_only_answer_is_one_object_without_a_line_end() {
    let answer = r#"{"model":"m","created_at":"x","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}"#;
    let outcome = outcome(meter("/api/chat"), answer);
    assert!(outcome.complete);
    assert_eq!(outcome.usage, Usage::default());
}

#[test]
fn the_last_line_of_generate_may_be_as_long_as_its_context() {
    let context: Vec<String> = (0..200_000).map(|token: u32| token.to_string()).collect();
    let answer = format!(
        "{{\"response\":\"a\",\"done\":false}}\n{{\"response\":\"\",\"done\":true,\"context\":[{}],\"prompt_eval_count\":5,\"eval_count\":6}}\n",
        context.join(",")
    );
    let (_, outcome) = run(meter("/api/generate"), answer.as_bytes().chunks(4096));
    assert!(outcome.complete);
    assert_eq!((outcome.usage.prompt_tokens, outcome.usage.completion_tokens), (5, 6));
}

#[test]
fn a_stream_that_was_cut_is_not_complete_and_its_cost_is_counted() {
    let lines: Vec<&str> = CHAT.split_inclusive('\n').collect();
    let cut = outcome(meter("/api/chat"), &lines[..2].concat());
    assert!(!cut.complete);
    assert_eq!(cut.usage, Usage { completion_tokens: 2, estimated: true, ..Usage::default() });
    let event = cut.error_event(StatusCode::BAD_GATEWAY, "the model stopped", None).expect("an event");
    assert_eq!(event, "{\"error\":\"the model stopped\"}\n");

    let within = outcome(meter("/api/chat"), &format!("{}{}", lines[0], &lines[1][..20]));
    let event = within.error_event(StatusCode::BAD_GATEWAY, "the model stopped", None).expect("an event");
    assert_eq!(event, "\n{\"error\":\"the model stopped\"}\n");
    assert_eq!(within.usage.completion_tokens, 1);

    let nothing = outcome(meter("/api/chat"), "");
    assert!(!nothing.complete && nothing.usage.estimated);
}

#[test]
fn an_error_line_is_ollamas_own_end() {
    let answer = format!(
        "{}{}\n",
        CHAT.split_inclusive('\n').next().expect("a line"),
        r#"{"error":"an error was \"met\" \u00e9"}"#
    );
    let outcome = outcome(meter("/api/chat"), &answer);
    assert!(!outcome.complete);
    assert_eq!(outcome.error.as_deref(), Some("an error was \"met\" é"));
    assert_eq!(outcome.error_event(StatusCode::BAD_GATEWAY, "cut", None), None);
}

#[test]
fn an_openai_stream_tells_its_cost_before_its_end() {
    let told = outcome(meter("/v1/chat/completions"), &openai(USAGE_CHUNK));
    assert!(told.complete);
    assert_eq!(told.usage, Usage { prompt_tokens: 31, completion_tokens: 7, ..Usage::default() });

    let untold = outcome(meter("/v1/chat/completions"), &openai(""));
    assert!(untold.complete);
    assert_eq!(untold.usage, Usage { completion_tokens: 3, estimated: true, ..Usage::default() });
}

#[test]
fn an_openai_stream_that_was_cut_gets_an_event_of_its_own() {
    let stream = openai(USAGE_CHUNK);
    let first = stream.find("\n\n").expect("an end") + 2;
    for (length, begins) in
        [(first, "data: {\"error\""), (first + 20, "\n\ndata: {\"error\""), (first - 1, "\n\ndata: {\"error\"")]
    {
        let cut = outcome(meter("/v1/chat/completions"), &stream[..length]);
        assert!(!cut.complete);
        let event = cut.error_event(StatusCode::BAD_GATEWAY, "cut", Some("upstream_incomplete")).expect("an event");
        assert!(event.starts_with(begins.as_bytes()) && event.ends_with(b"\n\n"), "{event:?}");
    }
    let whole = outcome(meter("/v1/chat/completions"), stream.trim_end());
    assert!(whole.complete, "the marker counts even without its blank line");
}

#[rstest]
#[case("/api/chat", r#"{"message":{"content":"a","done":false},"done":true,"prompt_eval_count":3,"eval_count":4}"#, true, (3, 4))]
#[case("/api/chat", r#"{"message":{"content":"a"},"done":false,"eval_count":4}"#, false, (0, 0))]
#[case("/api/embed", r#"{"model":"m","embeddings":[[0.1,-2e-3],[1]],"total_duration":5,"prompt_eval_count":8}"#, true, (8, 0))]
#[case("/api/embed", r#"{"model":"m","embeddings":[[0.1,"#, false, (0, 0))]
#[case("/v1/chat/completions", "{ \"choices\" : [ {\"message\":{}} ],\n \"usage\" : { \"prompt_tokens\" : 5 , \"completion_tokens\" :6, \"total_tokens\":11 } }\n", true, (5, 6))]
fn an_answer_in_one_piece_is_complete_when_its_object_is(
    #[case] path: &str,
    #[case] answer: &str,
    #[case] complete: bool,
    #[case] tokens: (u64, u64),
) {
    let outcome = outcome(whole(path), answer);
    assert_eq!(outcome.complete, complete);
    assert_eq!((outcome.usage.prompt_tokens, outcome.usage.completion_tokens), tokens);
    assert_eq!(outcome.usage.estimated, !complete);
    assert_eq!(outcome.error_event(StatusCode::BAD_GATEWAY, "cut", None), None);
}

#[rstest]
#[case("/api/chat", r#"{"error":"model 'x' not found"}"#, "model 'x' not found")]
#[case(
    "/v1/chat/completions",
    r#"{"error":{"message":"too long","type":"invalid_request_error","param":null,"code":null}}"#,
    "too long"
)]
fn an_answer_that_is_an_error_costs_nothing(#[case] path: &str, #[case] answer: &str, #[case] error: &str) {
    let outcome = outcome(whole(path), answer);
    assert!(!outcome.complete);
    assert_eq!(outcome.error.as_deref(), Some(error));
    assert_eq!(outcome.usage, Usage::default());
}

fn dropping() -> Meter {
    Meter::new(endpoint("/v1/chat/completions"), true, true)
}

#[test]
fn the_usage_chunk_is_taken_out_and_every_other_byte_stays() {
    let (out, outcome) = run(dropping(), [openai(USAGE_CHUNK).as_bytes()]);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), openai(""));
    assert!(outcome.complete);
    assert_eq!((outcome.usage.prompt_tokens, outcome.usage.completion_tokens), (31, 7));
}

#[test]
fn a_chunk_without_the_usage_chunk_goes_on_whole_and_at_once() {
    let stream = openai("");
    let mut meter = dropping();
    for event in stream.split_inclusive("\n\n") {
        let chunk = Bytes::copy_from_slice(event.as_bytes());
        let pieces = meter.feed(chunk.clone());
        assert_eq!(pieces.concat(), chunk);
        assert_eq!((pieces.len(), pieces[0].as_ptr()), (1, chunk.as_ptr()), "no copy");
    }
}

#[test]
fn only_what_could_be_the_usage_chunk_waits() {
    let stream = openai(USAGE_CHUNK);
    let mut meter = dropping();
    let head = stream.find("\"choices\"").expect("choices");
    assert!(meter.feed(Bytes::copy_from_slice(&stream.as_bytes()[..head])).is_empty());
    let released = meter.feed(Bytes::copy_from_slice(&stream.as_bytes()[head..head + 12]));
    assert_eq!(released.concat(), &stream.as_bytes()[..head + 12]);

    // Ollama's events are small; one that is not is never held for long.
    let mut meter = dropping();
    let mut sent = meter.feed(Bytes::from_static(b"data: {\"id\":\"")).concat();
    for _ in 0..40 {
        sent.extend(meter.feed(Bytes::from(vec![b'x'; 1024])).concat());
    }
    assert_eq!(sent.len(), 13 + 40 * 1024);
}

#[test]
fn what_waits_when_the_stream_is_cut_is_dropped_with_its_event() {
    let stream = openai(USAGE_CHUNK);
    let at = stream.find("\"choices\":[],\"usage\"").expect("usage") + 15;
    let (out, outcome) = run(dropping(), [&stream.as_bytes()[..at]]);
    let out = String::from_utf8(out).expect("UTF-8");
    assert!(out.ends_with("\n\n") && stream.starts_with(&out));
    let event = outcome.error_event(StatusCode::BAD_GATEWAY, "cut", None).expect("an event");
    assert!(event.starts_with(b"data: "));
}

#[test]
fn comments_other_fields_and_carriage_returns_pass() {
    let stream = ": ping\r\n\r\nevent: x\ndata: {\"choices\":[],\"usage\":{}}\n\n\n\ndata:{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\r\n\r\ndata: [DONE]\r\n\r\n";
    let (out, outcome) = run(dropping(), [stream.as_bytes()]);
    let expected = ": ping\r\n\r\nevent: x\ndata: {\"choices\":[],\"usage\":{}}\n\n\n\ndata: [DONE]\r\n\r\n";
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    assert!(outcome.complete);
    assert_eq!((outcome.usage.prompt_tokens, outcome.usage.completion_tokens), (1, 2));
}

/// Cuts `bytes` at the given places.
fn chunks<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    proptest::collection::vec(any::<prop::sample::Index>(), 0..60)
}

proptest! {
    #[test]
    fn however_a_native_stream_is_chunked_it_is_the_same(cuts in cuts(), length in any::<prop::sample::Index>()) {
        let stream = &CHAT.as_bytes()[..length.index(CHAT.len() + 1)];
        let at_once = run(meter("/api/chat"), [stream]);
        prop_assert_eq!(&at_once.0, stream);
        prop_assert_eq!(run(meter("/api/chat"), chunks(stream, &cuts)), at_once);
    }

    #[test]
    fn however_an_openai_stream_is_chunked_the_usage_chunk_alone_is_missing(
        cuts in cuts(), length in any::<prop::sample::Index>(), asked in any::<bool>()
    ) {
        let full = openai(USAGE_CHUNK);
        let new = || Meter::new(endpoint("/v1/chat/completions"), true, !asked);
        let (out, outcome) = run(new(), chunks(full.as_bytes(), &cuts));
        prop_assert_eq!(out, openai(if asked { USAGE_CHUNK } else { "" }).into_bytes());
        prop_assert_eq!((outcome.complete, outcome.usage.prompt_tokens, outcome.usage.completion_tokens), (true, 31, 7));

        // A stream that was cut: what comes out is its beginning, without the usage chunk, and the tally is the same.
        let cut = &full.as_bytes()[..length.index(full.len() + 1)];
        let (out, outcome) = run(new(), chunks(cut, &cuts));
        let expected = if asked { full.clone() } else { openai("") };
        prop_assert!(expected.as_bytes().starts_with(&out));
        let at_once = run(new(), [cut]).1;
        prop_assert_eq!((outcome.complete, outcome.error, outcome.usage), (at_once.complete, at_once.error, at_once.usage));
    }

    #[test]
    fn any_bytes_pass_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..300), cuts in cuts()) {
        for meter in [meter("/api/chat"), whole("/api/chat"), whole("/api/embed"), meter("/v1/chat/completions")] {
            let (out, _) = run(meter, chunks(&bytes, &cuts));
            prop_assert_eq!(&out, &bytes);
        }
    }

    #[test]
    fn text_like_a_stream_is_counted_alike_however_it_is_chunked(
        text in "(data: |\\{|\\}|\\[|\\]|\"choices\":|\"usage\":|\"done\":|true|\"error\":|\"x|\"|,|1|\\\\|\n|\r|\\[DONE\\]| ){0,40}", cuts in cuts()
    ) {
        for new in [|| meter("/api/chat"), || whole("/api/embed"), || meter("/v1/chat/completions"), dropping] {
            let (out, outcome) = run(new(), chunks(text.as_bytes(), &cuts));
            let (out_at_once, at_once) = run(new(), [text.as_bytes()]);
            prop_assert!(out == out_at_once || out_at_once.starts_with(&out) || out.starts_with(&out_at_once));
            prop_assert_eq!((outcome.complete, outcome.error, outcome.usage), (at_once.complete, at_once.error, at_once.usage));
        }
    }
}
