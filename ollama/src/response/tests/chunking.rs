//! How the network divides a response changes neither its bytes nor its counts.

use proptest::prelude::*;

use super::*;

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
