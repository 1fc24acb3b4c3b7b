//! The meter of responses: the division of a response into chunks, which the network chooses,
//! changes nothing.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    dialect::Dialect,
    endpoints::{ENDPOINTS, Endpoint},
    response::{Meter, ResponseSummary},
};

/// The longest response, in bytes. A longer event is not held back, and what is sent of it depends
/// on the chunks.
const MAX_BYTES: usize = 8 << 10;
/// The bits of the first byte of the input: a stream, and without the usage chunk.
const IS_STREAMING: u8 = 0x80;
const DROP_USAGE: u8 = 0x40;

/// The input is a byte that selects the endpoint and its meter, a byte that selects the sizes of
/// the chunks, and a response.
pub fn chunking_does_not_change_a_response(input: &[u8]) {
    let &[selector, sizes, ref response @ ..] = input else { return };
    let response = &response[..response.len().min(MAX_BYTES)];
    let endpoints: Vec<&Endpoint> = ENDPOINTS.iter().filter(|endpoint| endpoint.operation.runs_model()).collect();
    let endpoint = endpoints[usize::from(selector & !(IS_STREAMING | DROP_USAGE)) % endpoints.len()];
    let is_streaming = selector & IS_STREAMING != 0;
    let drop_usage = selector & DROP_USAGE != 0 && is_streaming && endpoint.dialect == Dialect::OpenAi;
    let new = || Meter::new(endpoint, is_streaming, drop_usage);

    let (sent, summary) = run(new(), [response]);
    for (cut_sent, cut_summary) in [run(new(), response.chunks(1)), run(new(), Chunks { rest: response, state: sizes })]
    {
        let counts = |summary: &ResponseSummary| (summary.is_complete, summary.error.clone(), summary.usage);
        assert_eq!(counts(&cut_summary), counts(&summary));
        if drop_usage {
            // Of an event that never ends, more or less can be sent.
            assert!(sent.starts_with(&cut_sent) || cut_sent.starts_with(&sent), "{cut_sent:?}, not {sent:?}");
        } else {
            assert_eq!(cut_sent, response);
            assert_eq!(cut_summary, summary);
        }
    }
    if !drop_usage {
        assert_eq!(sent, response);
    }
    let event = summary.error_event(StatusCode::BAD_GATEWAY, "broken off", None);
    assert!(event.is_none() || !summary.is_complete);
}

/// Feeds the chunks to the meter. Returns what it sends, and the summary.
fn run<'a>(mut meter: Meter, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, ResponseSummary) {
    let mut sent = Vec::new();
    for chunk in chunks {
        for output in meter.feed(Bytes::copy_from_slice(chunk)) {
            sent.extend_from_slice(&output);
        }
    }
    (sent, meter.finish())
}

/// Chunks of up to 32 bytes, some of them empty.
struct Chunks<'a> {
    rest: &'a [u8],
    state: u8,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state = self.state.wrapping_mul(141).wrapping_add(3);
        let (chunk, rest) = self.rest.split_at(usize::from(self.state >> 3).min(self.rest.len()));
        self.rest = rest;
        Some(chunk)
    }
}
