//! Meter of a response: detects whether the response is complete, reads its token counts, and
//! removes the usage chunk that the client did not request.
//!
//! Ollama answers 200 and ends the body normally even when its engine crashes in the middle. Only a
//! terminal marker proves that a response is complete: `"done":true` in the native API, `[DONE]`,
//! `response.completed` or `message_stop` in a stream of events, and the closing brace of any other
//! response.
//!
//! In this module a frame is one JSON object of a stream: a line of the native API, or the data of
//! one server-sent event.

mod field_scanner;
mod meter;
mod sse;
mod summary;
mod token_counts;
mod usage_filter;

pub use meter::Meter;
pub use summary::ResponseSummary;
pub use token_counts::{METERED_FIELDS, UNMETERED_FIELDS, Usage};
pub use usage_filter::Chunks;

#[cfg(test)]
mod tests;
