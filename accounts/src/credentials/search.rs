//! The filter and the order of a list of keys.

use paddock_store::{
    clock::Timestamp,
    ids::{CredentialId, UserId},
};

use super::state::KeyState;
use crate::{
    list_query::{Sort, SortColumn},
    types::{Scope, TextEnum},
};

/// Selects keys. Every field that is set must match.
#[derive(Clone, Debug, Default)]
pub struct KeySearch {
    /// One of these ids. Empty: any id.
    pub ids: Vec<CredentialId>,
    /// The owner.
    pub user_id: Option<UserId>,
    /// A substring of the label, the owner's address, or the prefix of a secret, in any case.
    pub text: Option<String>,
    /// One of these states. Empty: any state.
    pub states: Vec<KeyState>,
    /// A scope of the key, whether or not the roles of the owner grant it.
    pub scope: Option<Scope>,
    /// A substring of the key's own model patterns.
    pub model: Option<String>,
    /// Keys that expire before this time. A key that never expires does not match.
    pub expires_before: Option<Timestamp>,
    /// Whether the key was never used.
    pub is_never_used: Option<bool>,
    /// Whether a Kubernetes object owns the key.
    pub is_managed: Option<bool>,
    /// The order; `None` means the newest key first.
    pub sort: Option<Sort<KeyColumn>>,
}

impl KeySearch {
    pub(super) fn sort(&self) -> Sort<KeyColumn> {
        self.sort.unwrap_or(Sort { column: KeyColumn::Id, is_descending: true })
    }

    /// Whether every key matches, or every key of the user.
    pub(super) fn is_everything(&self) -> bool {
        let has_text = self.text.as_ref().is_some_and(|text| !text.is_empty());
        let has_flag = self.is_never_used.is_some() || self.is_managed.is_some() || self.expires_before.is_some();
        let has_list = !self.ids.is_empty() || !self.states.is_empty();
        let has_value = has_list || self.scope.is_some() || self.model.is_some();
        !(has_text || has_flag || has_value)
    }
}

/// A column by which keys can be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyColumn {
    /// The id.
    Id,
    /// The label, in any case.
    Label,
    /// The prefix of the active secret.
    Prefix,
    /// The address of the owner.
    Owner,
    /// The scopes.
    Scopes,
    /// The model patterns.
    Models,
    /// The state.
    State,
    /// When the key was created.
    CreatedAt,
    /// When the key was last used.
    LastUsedAt,
    /// When the key expires.
    ExpiresAt,
}

impl TextEnum for KeyColumn {
    const ALL: &'static [Self] = &[
        Self::Id,
        Self::Label,
        Self::Prefix,
        Self::Owner,
        Self::Scopes,
        Self::Models,
        Self::State,
        Self::CreatedAt,
        Self::LastUsedAt,
        Self::ExpiresAt,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Label => "label",
            Self::Prefix => "prefix",
            Self::Owner => "owner",
            Self::Scopes => "scopes",
            Self::Models => "models",
            Self::State => "state",
            Self::CreatedAt => "created_at",
            Self::LastUsedAt => "last_used_at",
            Self::ExpiresAt => "expires_at",
        }
    }
}

impl SortColumn for KeyColumn {
    fn expression(self) -> (&'static str, bool) {
        match self {
            Self::Label => ("lower(label)", true),
            Self::Prefix => ("key_id", true),
            Self::Owner => ("owner_email", true),
            Self::Scopes | Self::Models | Self::State => (self.text(), true),
            Self::Id | Self::CreatedAt | Self::LastUsedAt | Self::ExpiresAt => (self.text(), false),
        }
    }
}
