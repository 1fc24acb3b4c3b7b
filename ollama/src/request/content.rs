//! What a request asks of a model: whether it gives the model any input, how much, and whether it
//! leaves this Ollama.

use serde::Deserialize;

use super::{
    json::ValueKind,
    scan::{Scanned, folds_to},
};
use crate::{
    dialect::Dialect,
    endpoints::{Endpoint, Operation},
};

/// The members that a model reads.
const PROMPT_FIELDS: &[&str] = &["messages", "prompt", "suffix", "input", "system", "instructions", "context", "tools"];

/// The beginning of the type of the tools for which Ollama asks a search service on the internet.
const WEB_SEARCH: &str = "web_search";

impl Scanned<'_> {
    /// Returns whether a request of the native API only loads or unloads its model, because it has
    /// no input for it.
    #[must_use]
    pub fn is_load_only(&self, endpoint: &Endpoint) -> bool {
        if endpoint.dialect != Dialect::Ollama {
            return false;
        }
        let inputs: &[&str] = match endpoint.operation {
            Operation::Chat => &["messages"],
            Operation::Generate => &["prompt"],
            Operation::Embed => &["input", "prompt"],
            _ => return false,
        };
        let known = endpoint.known_fields.map_or(&[][..], |fields| fields.top_level);
        inputs.iter().filter(|input| known.contains(input)).all(|input| self.is_empty(input))
    }

    /// Returns the size of the members that the model reads, in bytes as written.
    #[must_use]
    pub fn prompt_bytes(&self) -> usize {
        let read = self.members().iter().filter(|member| PROMPT_FIELDS.contains(&&*member.key));
        read.map(|member| member.value_span.len()).sum()
    }

    /// Returns whether a tool of the request makes Ollama search the internet. It compares keys as
    /// Ollama does.
    #[must_use]
    pub fn searches_web(&self) -> bool {
        let Some(tools) = self.top_level().member("tools") else { return false };
        let text = self.value_of(tools);
        if tools.kind != ValueKind::Array || !may_contain(text, WEB_SEARCH) {
            return false;
        }
        let Ok(tools) = serde_json::from_str::<Vec<Tool>>(text) else { return false };
        tools.iter().any(|Tool(members)| {
            members.iter().any(|(key, value)| {
                folds_to(key, "type") && value.as_str().is_some_and(|kind| kind.starts_with(WEB_SEARCH))
            })
        })
    }

    /// Whether a member is absent, or null, or an empty text or list.
    fn is_empty(&self, key: &str) -> bool {
        let Some(member) = self.top_level().member(key) else { return true };
        let value = self.value_of(member);
        match member.kind {
            ValueKind::Null => true,
            ValueKind::String => value == "\"\"",
            ValueKind::Array => value[1..value.len() - 1].trim_ascii().is_empty(),
            _ => false,
        }
    }
}

/// Whether a JSON text may contain `word` in a string. An escape may hide it.
fn may_contain(text: &str, word: &str) -> bool {
    text.contains(word) || text.contains("\\u")
}

/// The members of a tool, repeated ones included.
#[derive(Debug)]
struct Tool(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Tool {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Tool;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Tool, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Tool(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
