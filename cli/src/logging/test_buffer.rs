//! What the unit tests of logging share.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

/// A writer that keeps what was written.
#[derive(Clone, Default)]
pub(super) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Logs one line within the span of a request.
pub(super) fn log_in_a_request() {
    let span = tracing::error_span!(
        "request",
        otel.kind = "server",
        otel.name = tracing::field::Empty,
        request_id = "r-1",
        user_id = tracing::field::Empty
    );
    span.record("user_id", 7);
    span.record("otel.name", "GET /x");
    span.in_scope(|| tracing::info!(target = "\"quoted\"\n", took = 5_u128, user_id = 8, "done"));
}
