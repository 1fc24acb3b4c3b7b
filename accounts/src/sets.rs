//! Closed sets of words: roles and scopes.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a user is. `admin` includes all that `user` may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May manage everything.
    Admin,
    /// May use models.
    User,
}

/// What an API key may be used for.
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

/// A word of a closed set, as it is stored and sent.
pub trait Word: Copy + Ord + fmt::Debug + 'static {
    /// Every member.
    const ALL: &'static [Self];
    /// The member's text.
    fn text(self) -> &'static str;
}

impl Word for Role {
    const ALL: &'static [Self] = &[Self::Admin, Self::User];

    fn text(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

impl Word for Scope {
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

/// A set of words of one kind; in storage one TEXT, sorted, separated by one space.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Words<W: Word> {
    known: BTreeSet<W>,
    /// What a newer version stored. It grants nothing here, and is kept: a change of something else must not take it away.
    unknown: Box<[String]>,
}

/// The roles of a user.
pub type Roles = Words<Role>;
/// The scopes of an API key.
pub type Scopes = Words<Scope>;

impl Scopes {
    /// What a key gets when none are named: `chat generate embed models:read`.
    #[must_use]
    pub fn default_for_keys() -> Self {
        [Scope::Chat, Scope::Generate, Scope::Embed, Scope::ModelsRead].into_iter().collect()
    }
}

impl<W: Word> Words<W> {
    /// Whether the word is in the set.
    #[must_use]
    pub fn has(&self, word: W) -> bool {
        self.known.contains(&word)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.known.difference(&other.known).copied().collect()
    }

    /// Whether nothing is in it that counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The members, sorted.
    pub fn iter(&self) -> impl Iterator<Item = W> + '_ {
        self.known.iter().copied()
    }

    /// From the stored form.
    pub(crate) fn from_stored(text: &str) -> Self {
        let (mut known, mut unknown) = (BTreeSet::new(), Vec::new());
        for text in text.split(' ').filter(|text| !text.is_empty()) {
            match word(text) {
                Ok(word) => {
                    known.insert(word);
                }
                Err(_) => unknown.push(text.to_owned()),
            }
        }
        Self { known, unknown: unknown.into() }
    }
}

impl<W: Word> Default for Words<W> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), unknown: Box::default() }
    }
}

impl<W: Word> FromIterator<W> for Words<W> {
    fn from_iter<I: IntoIterator<Item = W>>(words: I) -> Self {
        Self { known: words.into_iter().collect(), unknown: Box::default() }
    }
}

impl<W: Word> fmt::Display for Words<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.iter().map(|word| word.text());
        let sorted: BTreeSet<&str> = known.chain(self.unknown.iter().map(String::as_str)).collect();
        for (i, word) in sorted.into_iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl<W: Word> fmt::Debug for Words<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl<W: Word + Serialize> Serialize for Words<W> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.known)
    }
}

impl<'de, W: Word + Deserialize<'de>> Deserialize<'de> for Words<W> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(BTreeSet::deserialize(from)?.into_iter().collect())
    }
}

/// A word outside the set, and what is in it.
#[derive(Debug, thiserror::Error)]
#[error("`{word}` is not one of: {known}")]
pub struct UnknownWord {
    word: String,
    known: String,
}

/// The member whose text this is.
pub fn word<W: Word>(text: &str) -> Result<W, UnknownWord> {
    W::ALL.iter().copied().find(|known| known.text() == text).ok_or_else(|| UnknownWord {
        word: text.to_owned(),
        known: W::ALL.iter().map(|w| w.text()).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text)
    }
}

impl FromStr for Scope {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_is_sorted_and_tolerates_what_a_newer_version_wrote() {
        let scopes: Scopes = [Scope::ModelsRead, Scope::Chat].into_iter().collect();
        assert_eq!(scopes.to_string(), "chat models:read");
        let newer = Scopes::from_stored("beam chat models:read teleport");
        assert_eq!(newer.iter().collect::<Scopes>(), scopes);
        assert_eq!(newer.to_string(), "beam chat models:read teleport");
        assert!(Roles::from_stored("").is_empty());
    }
}
