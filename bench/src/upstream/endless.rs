//! A stream of many bytes, as fast as its client reads.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Body;
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::frame::{Dialect, Order, ending, stamp_now, write};

/// Bytes of one frame.
const FRAME_SIZE: usize = 64 * 1024;

/// At least `order.bytes` bytes of NDJSON, and the end.
pub(super) fn stream(order: Order) -> impl Body<Data = Bytes, Error = Infallible> {
    let small = write(Dialect::Native, stamp_now(order.stream, 0), false);
    // JSON allows spaces between its tokens.
    let frame = Bytes::from(format!("{{{}{}", " ".repeat(FRAME_SIZE - small.len()), &small[1..]));
    let count = order.bytes.div_ceil(FRAME_SIZE as u64);
    let end = ending(Dialect::Native, count, false).into_iter().map(Bytes::from);
    let frames = (0..count).map(move |_| frame.clone()).chain(end);
    StreamBody::new(stream::iter(frames).map(|frame| Ok(Frame::data(frame))))
}
