//! Filter that removes the usage chunk from an OpenAI stream.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{sse::EventParser, usage::Totals};

/// The chunks to send to the client for one chunk from Ollama, in order.
pub type Chunks = SmallVec<[Bytes; 2]>;

/// Maximum number of bytes of an unfinished event that the filter holds back. A usage chunk has
/// about 300 bytes.
const MAX_HELD_BYTES: usize = 16 * 1024;

/// Holds back the beginning of an event that may turn out to be the usage chunk.
#[derive(Debug, Default)]
pub(super) struct UsageFilter {
    held: Chunks,
    held_bytes: usize,
    /// Part of the current event has been sent, so the filter must send all of it.
    is_released: bool,
}

impl UsageFilter {
    /// Parses a chunk, adds its events to the totals, and returns the chunks to send now.
    pub(super) fn feed(&mut self, chunk: &Bytes, parser: &mut EventParser, totals: &mut Totals) -> Chunks {
        let mut output = Chunks::new();
        // All bytes before `sent` are sent or dropped. The current event begins at `start`, or in
        // an earlier chunk.
        let (mut sent, mut start) = (0, 0);
        while let Some((length, event)) = parser.feed(&chunk[start..]) {
            totals.add_event(&event);
            let end = start + length;
            if event.is_usage_chunk() && !self.is_released {
                self.drop_held();
                push(&mut output, chunk.slice(sent..start));
                sent = end;
            } else {
                self.release_held(&mut output);
            }
            self.is_released = false;
            start = end;
        }
        let event = parser.current_event();
        let length = self.held_bytes + chunk.len() - start;
        if event.has_begun() && event.can_be_usage_chunk() && !self.is_released && length <= MAX_HELD_BYTES {
            push(&mut output, chunk.slice(sent..start));
            self.held_bytes = length;
            push(&mut self.held, chunk.slice(start..));
        } else {
            self.release_held(&mut output);
            self.is_released = event.has_begun();
            push(&mut output, chunk.slice(sent..));
        }
        output
    }

    /// Returns whether the filter holds back part of an event.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    fn release_held(&mut self, output: &mut Chunks) {
        output.append(&mut self.held);
        self.held_bytes = 0;
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }
}

fn push(chunks: &mut Chunks, chunk: Bytes) {
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
}
