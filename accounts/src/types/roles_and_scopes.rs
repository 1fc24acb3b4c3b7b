//! Roles, scopes, and sets of them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use paddock_store::stored_as_text;
use serde::{Deserialize, Serialize};

/// A role of a user. `admin` includes `user`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May manage everything.
    Admin,
    /// May use models.
    User,
}

/// A scope of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Read the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Chat endpoints.
    #[serde(rename = "chat")]
    Chat,
    /// Embedding endpoints.
    #[serde(rename = "embed")]
    Embed,
    /// Completion endpoints.
    #[serde(rename = "generate")]
    Generate,
    /// List API keys.
    #[serde(rename = "keys:read")]
    KeysRead,
    /// Issue, rotate and revoke API keys.
    #[serde(rename = "keys:write")]
    KeysWrite,
    /// List models.
    #[serde(rename = "models:read")]
    ModelsRead,
    /// Pull and delete models.
    #[serde(rename = "models:write")]
    ModelsWrite,
    /// Read usage totals.
    #[serde(rename = "usage:read")]
    UsageRead,
    /// List users.
    #[serde(rename = "users:read")]
    UsersRead,
    /// Create and change users.
    #[serde(rename = "users:write")]
    UsersWrite,
}

/// An enum whose variants are stored and sent as texts.
pub trait TextEnum: Copy + Ord + fmt::Debug + 'static {
    /// Every variant.
    const ALL: &'static [Self];
    /// Returns the text of the variant.
    fn text(self) -> &'static str;
}

impl TextEnum for Role {
    const ALL: &'static [Self] = &[Self::Admin, Self::User];

    fn text(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

impl TextEnum for Scope {
    const ALL: &'static [Self] = &[
        Self::AuditRead,
        Self::Chat,
        Self::Embed,
        Self::Generate,
        Self::KeysRead,
        Self::KeysWrite,
        Self::ModelsRead,
        Self::ModelsWrite,
        Self::UsageRead,
        Self::UsersRead,
        Self::UsersWrite,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::AuditRead => "audit:read",
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Generate => "generate",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::ModelsRead => "models:read",
            Self::ModelsWrite => "models:write",
            Self::UsageRead => "usage:read",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
        }
    }
}

/// A set of variants. Its stored form is one text: the variants, sorted and separated by spaces.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EnumSet<T: TextEnum> {
    known: BTreeSet<T>,
    /// Unknown texts that a newer version stored. They grant nothing, and are kept when other
    /// fields of the row change.
    unknown: Box<[String]>,
}

/// The roles of a user.
pub type Roles = EnumSet<Role>;
/// The scopes of an API key.
pub type Scopes = EnumSet<Scope>;

stored_as_text!([T: TextEnum] EnumSet<T>, |set| set.to_string(), |text| Ok(EnumSet::from_stored(text)));

impl Role {
    /// Whether sessions and keys of a user with this role may use the scope.
    #[must_use]
    pub fn grants(self, scope: Scope) -> bool {
        match self {
            Self::Admin => true,
            Self::User => matches!(
                scope,
                Scope::Chat
                    | Scope::Generate
                    | Scope::Embed
                    | Scope::ModelsRead
                    | Scope::KeysRead
                    | Scope::UsersRead
                    | Scope::UsageRead
            ),
        }
    }
}

impl Scopes {
    /// The scopes of a new key by default: `chat generate embed models:read`.
    #[must_use]
    pub fn default_for_keys() -> Self {
        [Scope::Chat, Scope::Generate, Scope::Embed, Scope::ModelsRead].into_iter().collect()
    }
}

impl<T: TextEnum> EnumSet<T> {
    /// Whether the set contains the variant.
    #[must_use]
    pub fn has(&self, variant: T) -> bool {
        self.known.contains(&variant)
    }

    /// Returns the variants of this set that the other set does not contain.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.known.difference(&other.known).copied().collect()
    }

    /// Whether the set contains no known variant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns the known variants, sorted.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.known.iter().copied()
    }

    /// Reads the stored form.
    pub(crate) fn from_stored(text: &str) -> Self {
        let (mut known, mut unknown) = (BTreeSet::new(), Vec::new());
        for text in text.split(' ').filter(|text| !text.is_empty()) {
            match parse_variant(text) {
                Ok(variant) => {
                    known.insert(variant);
                }
                Err(_) => unknown.push(text.to_owned()),
            }
        }
        Self { known, unknown: unknown.into() }
    }
}

impl<T: TextEnum> Default for EnumSet<T> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), unknown: Box::default() }
    }
}

impl<T: TextEnum> FromIterator<T> for EnumSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(variants: I) -> Self {
        Self { known: variants.into_iter().collect(), unknown: Box::default() }
    }
}

impl<T: TextEnum> fmt::Display for EnumSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.iter().map(|variant| variant.text());
        let sorted: BTreeSet<&str> = known.chain(self.unknown.iter().map(String::as_str)).collect();
        for (i, text) in sorted.into_iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(text)?;
        }
        Ok(())
    }
}

impl<T: TextEnum> fmt::Debug for EnumSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl<T: TextEnum + Serialize> Serialize for EnumSet<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.known)
    }
}

impl<'de, T: TextEnum + Deserialize<'de>> Deserialize<'de> for EnumSet<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(BTreeSet::deserialize(from)?.into_iter().collect())
    }
}

/// The text is not a variant. The message lists the variants.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not one of: {known}")]
pub struct UnknownVariant {
    text: String,
    known: String,
}

/// Parses the text of a variant.
pub fn parse_variant<T: TextEnum>(text: &str) -> Result<T, UnknownVariant> {
    T::ALL.iter().copied().find(|known| known.text() == text).ok_or_else(|| UnknownVariant {
        text: text.to_owned(),
        known: T::ALL.iter().map(|w| w.text()).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Role {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        parse_variant(text)
    }
}

impl FromStr for Scope {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        parse_variant(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_is_sorted_and_keeps_unknown_texts() {
        let scopes: Scopes = [Scope::ModelsRead, Scope::Chat].into_iter().collect();
        assert_eq!(scopes.to_string(), "chat models:read");
        let newer = Scopes::from_stored("beam chat models:read teleport");
        assert_eq!(newer.iter().collect::<Scopes>(), scopes);
        assert_eq!(newer.to_string(), "beam chat models:read teleport");
        assert!(Roles::from_stored("").is_empty());
    }
}
