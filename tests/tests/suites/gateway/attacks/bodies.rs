//! Variants of request bodies, and the endpoints that they are sent to.

use std::fmt::Write as _;

use memchr::memmem;
use paddock_tests::ollama::{CHAT_MODEL, EMBEDDING_MODEL};

/// Another name of the chat model, which the caller may not use.
pub(super) const OTHER_CHAT_MODEL: &str = "other-chat:1b";
/// Another name of the embedding model, which the caller may not use.
pub(super) const OTHER_EMBEDDING_MODEL: &str = "other-embed:1b";

/// Names of variants, each with its template. These texts in a template stand for parts of a request:
///
/// | Text | Part |
/// |---|---|
/// | `<allowed>`, `<escaped>` | the model that the caller may use, also with an escape for each letter |
/// | `<other>`, `<other escaped>` | a model that Ollama has and the caller may not use |
/// | `<rest>` | all other members of a short request |
/// | `<rest without options>`, `<rest without stream>` | the same without one of them |
pub(super) type Templates = &'static [(&'static str, &'static [u8])];

/// The endpoints that a variant is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoints {
    /// All of them.
    All,
    /// Those of Ollama's own API, which read `options`.
    Native,
    /// Those of the other APIs.
    Compatible,
    /// Those that read `stream`.
    Streaming,
}

/// An endpoint, and a short request for it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: &'static str,
    pub(super) allowed: &'static str,
    other: &'static str,
    /// The members of the request, besides the model.
    input: &'static str,
    stream: &'static str,
    options: &'static str,
}

const MESSAGES: &str = r#""messages":[{"role":"user","content":"Say hello."}]"#;
const NO_STREAM: &str = r#","stream":false"#;

const fn native(path: &'static str, input: &'static str) -> Target {
    let options = r#","options":{"num_predict":1}"#;
    Target { path, allowed: CHAT_MODEL, other: OTHER_CHAT_MODEL, input, stream: NO_STREAM, options }
}

const fn compatible(path: &'static str, input: &'static str) -> Target {
    Target { path, allowed: CHAT_MODEL, other: OTHER_CHAT_MODEL, input, stream: "", options: "" }
}

/// All endpoints that the variants are sent to.
pub(super) const TARGETS: [Target; 7] = [
    native("/api/chat", MESSAGES),
    native("/api/generate", r#""prompt":"Say hello.""#),
    Target {
        path: "/api/embed",
        allowed: EMBEDDING_MODEL,
        other: OTHER_EMBEDDING_MODEL,
        input: r#""input":"hello""#,
        stream: "",
        options: "",
    },
    compatible("/v1/chat/completions", r#""max_tokens":1,"messages":[{"role":"user","content":"Say hello."}]"#),
    compatible("/v1/completions", r#""max_tokens":1,"prompt":"Say hello.""#),
    compatible("/v1/responses", r#""max_output_tokens":1,"input":"Say hello.""#),
    compatible("/v1/messages", r#""max_tokens":1,"messages":[{"role":"user","content":"Say hello."}]"#),
];

impl Target {
    /// Whether the endpoint is one of these.
    pub(super) fn is_in(&self, endpoints: Endpoints) -> bool {
        let is_native = self.path.starts_with("/api/");
        match endpoints {
            Endpoints::All => true,
            Endpoints::Native => is_native,
            Endpoints::Compatible => !is_native,
            Endpoints::Streaming => self.path != "/api/embed",
        }
    }

    /// The body of a template.
    pub(super) fn body(&self, template: &[u8]) -> Vec<u8> {
        let Self { allowed, other, input, stream, options, .. } = self;
        fill(
            template,
            &[
                ("<allowed>", allowed),
                ("<escaped>", &escaped(allowed)),
                ("<other>", other),
                ("<other escaped>", &escaped(other)),
                ("<rest>", &format!("{input}{stream}{options}")),
                ("<rest without options>", &format!("{input}{stream}")),
                ("<rest without stream>", &format!("{input}{options}")),
            ],
        )
    }
}

/// A text with an escape for each of its characters, which must be ASCII.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        write!(escaped, "\\u{byte:04x}").expect("writing to a string");
    }
    escaped
}

/// Replaces texts of a template.
pub(super) fn fill(template: &[u8], parts: &[(&str, &str)]) -> Vec<u8> {
    parts.iter().fold(template.to_vec(), |text, (name, part)| replace(&text, name.as_bytes(), part.as_bytes()))
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
