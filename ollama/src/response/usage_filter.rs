//! Filter that removes the usage from an OpenAI stream, if the gateway requested the usage and the
//! client did not. It removes the usage chunk, and the member `usage` of the other chunks.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use smallvec::SmallVec;

use super::{sse::EventParser, token_counts::Totals};

/// The chunks to send to the client for one chunk from Ollama, in order.
pub type Chunks = SmallVec<[Bytes; 2]>;

/// Maximum number of bytes of an unfinished event that the filter holds back. Ollama writes an
/// event at once, so few events are unfinished. A usage chunk has about 300 bytes.
const MAX_HELD_BYTES: usize = 16 * 1024;

/// Holds back the beginning of an event until its end, because only the end shows whether the event
/// has usage to remove.
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
            } else if event.is_chunk_with_usage() && !self.is_released {
                push(&mut output, chunk.slice(sent..start));
                push(&mut output, self.without_usage(&chunk.slice(start..end)));
                sent = end;
            } else {
                self.release_held(&mut output);
            }
            self.is_released = false;
            start = end;
        }
        let event = parser.current_event();
        let length = self.held_bytes + chunk.len() - start;
        if event.has_begun() && event.is_one_object() && !self.is_released && length <= MAX_HELD_BYTES {
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

    /// Returns the event that ends with `rest`, without its member `usage`.
    fn without_usage(&mut self, rest: &Bytes) -> Bytes {
        let mut event = BytesMut::with_capacity(self.held_bytes + rest.len());
        self.held.iter().chain([rest]).for_each(|part| event.extend_from_slice(part));
        self.drop_held();
        if let Some((start, end)) = last_member(&event, b",\"usage\":") {
            let after = event.split_off(end);
            event.truncate(start);
            event.unsplit(after);
        }
        event.freeze()
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

/// Returns the start and the end of the last member of the event's object, if its key, as written
/// with the comma before it, is `key`.
///
/// The key cannot be found inside a string, where its quotes would be escaped.
fn last_member(event: &[u8], key: &[u8]) -> Option<(usize, usize)> {
    let start = memmem::rfind(event, key)?;
    let end = event.trim_ascii_end().len().checked_sub(1)?;
    let value = event.get(start + key.len()..end)?.trim_ascii();
    // Its value has no text in which a brace could stand.
    let depth = |value: &[u8]| {
        value.iter().fold(0_i32, |depth, byte| depth + i32::from(*byte == b'{') - i32::from(*byte == b'}'))
    };
    let is_object_or_null = value == b"null" || (value.first() == Some(&b'{') && depth(value) == 0);
    let is_whole = event[end] == b'}' && is_object_or_null;
    is_whole.then_some((start, end))
}

fn push(chunks: &mut Chunks, chunk: Bytes) {
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
}
