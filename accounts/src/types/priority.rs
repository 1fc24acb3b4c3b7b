//! The band of a key in the queue.

use paddock_store::stored_as_text;
use serde::{Deserialize, Serialize};

use super::{TextEnum, parse_variant};

/// The band of a key in the queue in front of a model. The greater band comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// No person waits for the response. Requests of `interactive` begin first.
    Batch,
    /// A person waits for the responses. Sessions have this priority.
    #[default]
    Interactive,
}

impl TextEnum for Priority {
    const ALL: &'static [Self] = &[Self::Interactive, Self::Batch];

    fn text(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

stored_as_text!([] Priority, |priority| priority.text().to_owned(), |text| Ok(parse_variant(text)?));
