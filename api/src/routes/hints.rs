//! Hints: settings that are valid, and leave a user or a key with less than an admin may expect.

use paddock_accounts::{
    credentials::{KeyOwner, KeyState, ListedKey},
    types::{ModelPatterns, Roles},
    users::User,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Hint)]
pub(crate) struct HintView {
    /// The case: `no_role`, `no_models`, `owner_disabled`, `owner_no_role` or `owner_no_models`.
    #[schema(example = "no_role")]
    code: &'static str,
    /// What follows, and what to change.
    detail: &'static str,
}

const NO_ROLE: HintView = HintView {
    code: "no_role",
    detail: "The user has no role, so it can only see its own profile. Give it the role `user` or `admin`.",
};
const NO_MODELS: HintView = HintView {
    code: "no_models",
    detail: "The list `models` is empty, so no model may be used. Set it to null for every model, or name some.",
};
const OWNER_DISABLED: HintView =
    HintView { code: "owner_disabled", detail: "The owner is disabled, so the key is refused. Enable the owner." };
const OWNER_NO_ROLE: HintView = HintView {
    code: "owner_no_role",
    detail: "The owner has no role, so the key has no right. Give the owner the role `user` or `admin`.",
};
const OWNER_NO_MODELS: HintView = HintView {
    code: "owner_no_models",
    detail: "The owner may use no model, so the key may use none either. Change `models` of the owner.",
};

/// Returns the hints of a user.
pub(super) fn user_hints(user: &User) -> Vec<HintView> {
    let mut hints = Vec::new();
    if user.roles.is_empty() {
        hints.push(NO_ROLE);
    }
    if is_none_allowed(user.models.as_ref()) {
        hints.push(NO_MODELS);
    }
    hints
}

/// Returns the hints of a key. A key that has ended has none.
pub(super) fn key_hints(key: &ListedKey) -> Vec<HintView> {
    if matches!(key.state, KeyState::Revoked | KeyState::Expired) {
        return Vec::new();
    }
    let KeyOwner { is_active, roles, models, .. } = &key.owner;
    hints_of_key(key.credential.models.as_ref(), *is_active, roles, models.as_ref())
}

/// Returns the hints of a key that was just issued or rotated.
pub(super) fn hints_of_issued(models: Option<&ModelPatterns>, owner: &User) -> Vec<HintView> {
    hints_of_key(models, owner.is_active, &owner.roles, owner.models.as_ref())
}

fn hints_of_key(
    models: Option<&ModelPatterns>,
    is_owner_active: bool,
    owner_roles: &Roles,
    owner_models: Option<&ModelPatterns>,
) -> Vec<HintView> {
    let mut hints = Vec::new();
    if is_none_allowed(models) {
        hints.push(NO_MODELS);
    }
    if !is_owner_active {
        hints.push(OWNER_DISABLED);
    }
    if owner_roles.is_empty() {
        hints.push(OWNER_NO_ROLE);
    }
    if is_none_allowed(owner_models) {
        hints.push(OWNER_NO_MODELS);
    }
    hints
}

/// Whether a list of patterns allows no model. No list allows every model.
fn is_none_allowed(models: Option<&ModelPatterns>) -> bool {
    models.is_some_and(|models| models.iter().next().is_none())
}
