//! Edits of a body that leave all other bytes as they are.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};

/// A replacement of one byte range of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The range that is replaced. An empty range inserts.
    pub span: Range<usize>,
    /// The text that takes its place. An empty text deletes.
    pub replacement: Cow<'static, str>,
}

/// Applies edits to a body. They must be in the order of their spans and must not overlap.
#[must_use]
pub fn splice(body: &[u8], edits: &[Edit]) -> Bytes {
    let added: usize = edits.iter().map(|edit| edit.replacement.len()).sum();
    let mut spliced = BytesMut::with_capacity(body.len() + added);
    let mut copied = 0;
    for edit in edits {
        spliced.extend_from_slice(&body[copied..edit.span.start]);
        spliced.extend_from_slice(edit.replacement.as_bytes());
        copied = edit.span.end;
    }
    spliced.extend_from_slice(&body[copied..]);
    spliced.freeze()
}
