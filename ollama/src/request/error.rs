//! The error of a scan.

/// Why a request body is rejected. Every variant is an error of the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The body is not JSON.
    #[error("the body is not valid JSON: byte {at}: expected {expected}")]
    InvalidJson {
        /// Offset of the byte, from 0.
        at: usize,
        /// The grammar element that JSON requires there.
        expected: &'static str,
    },
    /// The body is not UTF-8.
    #[error("the body is not valid UTF-8: byte {at}")]
    InvalidUtf8 {
        /// Offset of the byte, from 0.
        at: usize,
    },
    /// Arrays and objects are nested more than 128 levels deep.
    #[error("the body is nested too deeply: byte {at}")]
    TooDeep {
        /// Offset of the byte, from 0.
        at: usize,
    },
    /// An object whose members are read has more than 256 of them.
    #[error("the body has too many members")]
    TooManyMembers,
    /// An object has two members with the same key.
    #[error("the key {key:?} is given more than once: byte {at}")]
    DuplicateKey {
        /// The key, truncated.
        key: String,
        /// Offset of the second one, from 0.
        at: usize,
    },
    /// Ollama would take the key for a known field, but it is spelled differently.
    #[error("write the key {key:?} in exactly this way: byte {at}")]
    NonCanonicalKey {
        /// The known field.
        key: &'static str,
        /// Offset of the key, from 0.
        at: usize,
    },
    /// The key begins with `_`, which Ollama uses for debugging options, or is not valid text.
    #[error("the key {key:?} is not accepted: byte {at}")]
    ReservedKey {
        /// The key, truncated.
        key: String,
        /// Offset of the key, from 0.
        at: usize,
    },
    /// The value has the wrong kind.
    #[error("{key:?} must be {expected}: byte {at}")]
    WrongKind {
        /// The key.
        key: &'static str,
        /// The required kind.
        expected: &'static str,
        /// Offset of the value, from 0.
        at: usize,
    },
}
