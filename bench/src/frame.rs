//! The frames of a measured stream. Each frame carries its stream, its number and the time at which
//! the fake upstream should have sent it.
//!
//! The stamp is in the content, because some proxies decode a frame and encode it again.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::clock::now_ns;

const MODEL: &str = "smollm2:135m";
const MARK: &str = "@@";
const ORDER: &str = "@@order ";

/// The form of a stream.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Dialect {
    /// One JSON object per line, as `/api/chat` sends.
    Native,
    /// Server-sent events, as `/v1/chat/completions` sends.
    OpenAi,
}

impl Dialect {
    /// The path of a chat.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Native => "/api/chat",
            Self::OpenAi => "/v1/chat/completions",
        }
    }

    /// The bytes that end a frame.
    pub(crate) const fn end(self) -> &'static [u8] {
        match self {
            Self::Native => b"\n",
            Self::OpenAi => b"\n\n",
        }
    }
}

/// What the fake upstream is asked to answer. The request carries it in the text of its message.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    /// Distinguishes the streams of a run.
    pub(crate) stream: u64,
    /// The number of frames before the last one.
    pub(crate) frames: u64,
    /// Microseconds between two frames.
    pub(crate) interval_us: u64,
    /// Microseconds before the first frame.
    pub(crate) delay_us: u64,
    /// If it is not 0: send so many bytes instead, as fast as the client reads them.
    pub(crate) bytes: u64,
}

impl Order {
    /// The body of a request with this order, whose prompt has at least `prompt_bytes` bytes.
    pub(crate) fn body(&self, dialect: Dialect, prompt_bytes: usize) -> String {
        let Self { stream, frames, interval_us, delay_us, bytes } = self;
        let padding = "lorem ipsum ".repeat(prompt_bytes.div_ceil(12));
        let limit = match dialect {
            Dialect::Native => format!(r#""options":{{"num_predict":{}}}"#, frames.max(&1)),
            Dialect::OpenAi => format!(r#""max_tokens":{}"#, frames.max(&1)),
        };
        format!(
            r#"{{"model":"{MODEL}","stream":true,{limit},"messages":[{{"role":"user","content":"{ORDER}{stream} {frames} {interval_us} {delay_us} {bytes} {padding}"}}]}}"#
        )
    }

    /// The order in a request's body.
    pub(crate) fn find(body: &[u8]) -> Option<Self> {
        let mut numbers = numbers_after(body, ORDER)?;
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { stream: next()?, frames: next()?, interval_us: next()?, delay_us: next()?, bytes: next()? })
    }
}

/// The stamp of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The order's `stream`.
    pub(crate) stream: u64,
    /// The number of the frame, from 0.
    pub(crate) number: u64,
    /// When it should have been sent, in nanoseconds of [`now_ns`].
    pub(crate) intended_ns: u64,
}

impl Stamp {
    /// The first stamp in a chunk, and the number of stamps in it.
    pub(crate) fn find(chunk: &[u8]) -> Option<(Self, usize)> {
        let mut numbers = numbers_after(chunk, MARK)?;
        let mut next = || numbers.next()?.parse().ok();
        let stamp = Self { stream: next()?, number: next()?, intended_ns: next()? };
        // A stamp has a mark at its beginning and one at its end.
        Some((stamp, memmem::find_iter(chunk, MARK).count() / 2))
    }
}

/// The words between the first `mark` and the next text that is not a number.
fn numbers_after<'t>(text: &'t [u8], mark: &str) -> Option<impl Iterator<Item = &'t str>> {
    /// Five numbers of 64 bits, and what separates them.
    const MAX_LENGTH: usize = 110;
    let begin = memmem::find(text, mark.as_bytes())? + mark.len();
    let rest = &text[begin..];
    let length = rest.iter().take(MAX_LENGTH).take_while(|byte| byte.is_ascii_digit() || **byte == b' ').count();
    Some(std::str::from_utf8(&rest[..length]).ok()?.split(' '))
}

/// Writes a frame. `has_usage` is whether the client asked for usage: Ollama then adds an empty
/// usage to each event.
pub(crate) fn write(dialect: Dialect, stamp: Stamp, has_usage: bool) -> String {
    let Stamp { stream, number, intended_ns } = stamp;
    let content = format!("{MARK}{stream} {number} {intended_ns} {MARK}");
    match dialect {
        Dialect::Native => format!(
            "{{\"model\":\"{MODEL}\",\"created_at\":\"2026-01-02T03:04:05.678901234Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"{content}\"}},\"done\":false}}\n"
        ),
        Dialect::OpenAi => {
            let usage = if has_usage { r#","usage":null"# } else { "" };
            event(&format!(
                r#"[{{"index":0,"delta":{{"role":"assistant","content":"{content}"}},"finish_reason":null}}]{usage}"#
            ))
        }
    }
}

/// The frames that end a stream of `count` tokens.
pub(crate) fn ending(dialect: Dialect, count: u64, has_usage: bool) -> Vec<String> {
    match dialect {
        Dialect::Native => vec![format!(
            "{{\"model\":\"{MODEL}\",\"created_at\":\"2026-01-02T03:04:05.678901234Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"\"}},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":812345678,\"load_duration\":12345678,\"prompt_eval_count\":31,\"prompt_eval_duration\":21000000,\"eval_count\":{count},\"eval_duration\":70000000}}\n"
        )],
        Dialect::OpenAi => {
            let usage = format!(
                r#"[],"usage":{{"prompt_tokens":31,"completion_tokens":{count},"total_tokens":{}}}"#,
                31 + count
            );
            let null = if has_usage { r#","usage":null"# } else { "" };
            let mut frames = vec![event(&format!(r#"[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]{null}"#))];
            frames.extend(has_usage.then(|| event(&usage)));
            frames.push("data: [DONE]\n\n".to_owned());
            frames
        }
    }
}

fn event(choices: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-523\",\"object\":\"chat.completion.chunk\",\"created\":1795496753,\"model\":\"{MODEL}\",\"system_fingerprint\":\"fp_ollama\",\"choices\":{choices}}}\n\n"
    )
}

/// The stamp of a frame that is sent now.
pub(crate) fn stamp_now(stream: u64, number: u64) -> Stamp {
    Stamp { stream, number, intended_ns: now_ns() }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Order, Stamp, write};

    #[test]
    fn an_order_survives_its_body() {
        let order = Order { stream: 7, frames: 20, interval_us: 50_000, delay_us: 3, bytes: 9 };
        for dialect in [Dialect::Native, Dialect::OpenAi] {
            let body = order.body(dialect, 4_000);
            assert!(body.len() > 4_000);
            assert_eq!(Order::find(body.as_bytes()), Some(order));
            assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
        }
    }

    #[test]
    fn stamps_are_found_and_counted() {
        let stamp = Stamp { stream: 3, number: 41, intended_ns: u64::MAX };
        for dialect in [Dialect::Native, Dialect::OpenAi] {
            let frame = write(dialect, stamp, true);
            assert_eq!(Stamp::find(frame.as_bytes()), Some((stamp, 1)));
            assert_eq!(Stamp::find(frame.repeat(3).as_bytes()), Some((stamp, 3)));
        }
        assert_eq!(Stamp::find(b"data: [DONE]\n\n"), None);
    }
}
