//! The contexts that `paddock login` keeps: names for a server and a key for it.

mod file;

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::file::ContextsFile;

/// All contexts of this user on this machine, as the file holds them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The name of the context that commands use by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    /// The contexts by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A server and a key for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The base URL of the server.
    pub(crate) server: String,
    /// The address of the key's owner.
    pub(crate) email: String,
    /// The id of the key.
    pub(crate) credential_id: i64,
    /// The key.
    #[serde(deserialize_with = "read_secret", serialize_with = "write_secret")]
    pub(crate) key: SecretString,
    /// When the key expires, in RFC 3339. Absent: never, or unknown for a key from another source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// Whether `paddock login` issued the key. If not, other programs may use it too.
    pub(crate) issued_by_login: bool,
}

impl Contexts {
    /// The current context, if one is set and exists.
    pub(crate) fn current(&self) -> Option<(&str, &Context)> {
        let (name, context) = self.contexts.get_key_value(self.current_context.as_deref()?)?;
        Some((name, context))
    }

    /// Removes a context. It is no longer the current one.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Context> {
        let removed = self.contexts.remove(name)?;
        if self.current_context.as_deref() == Some(name) {
            self.current_context = None;
        }
        Some(removed)
    }
}

/// Parses the name of a context.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let is_valid = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    is_valid.then(|| text.to_owned()).ok_or_else(|| "is not a name: use a word such as prod".to_owned())
}

fn read_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn write_secret<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_key() {
        let context = Context {
            server: "https://paddock.example.com".to_owned(),
            email: "ada@example.com".to_owned(),
            credential_id: 7,
            key: "pdk_canary".into(),
            expires_at: None,
            issued_by_login: true,
        };
        let contexts = Contexts { current_context: None, contexts: [("prod".to_owned(), context)].into() };
        let debug = format!("{contexts:?}");
        assert!(debug.contains("ada@example.com") && !debug.contains("canary"), "{debug}");
    }
}
