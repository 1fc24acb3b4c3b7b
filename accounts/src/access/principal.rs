//! What a principal may do. This is the one place where that is decided.

use paddock_store::{
    clock::Timestamp,
    context::Actor,
    ids::{CredentialId, SessionId, UserId},
};

use super::delegation::{Constraints, DelegationLimits};
use crate::{
    error::AccessDenied,
    types::{Email, Limits, ModelPatterns, Role, Roles, Scope, Scopes, TextEnum as _},
};

/// The holder of an accepted credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user, or the owner of the key.
    pub user_id: UserId,
    /// The user's address.
    pub email: Email,
    /// The user's current roles.
    pub roles: Roles,
    /// The credential that was presented.
    pub via: AuthMethod,
    /// The models that the user may use; `None` means all.
    pub models: Option<ModelPatterns>,
    /// The user's limits.
    pub limits: Limits,
}

/// The credential of a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a principal is made once and then shared")]
pub enum AuthMethod {
    /// The access token of a session.
    Session {
        /// The session.
        id: SessionId,
    },
    /// An API key.
    Key {
        /// The credential.
        credential_id: CredentialId,
        /// The public part of the secret.
        key_id: String,
        /// The label.
        label: String,
        /// The scopes.
        scopes: Scopes,
        /// The models that the key may use, within its owner's.
        models: Option<ModelPatterns>,
        /// The key's own limits, beside its owner's.
        limits: Limits,
        /// When the presented secret ends: with the key, by itself, or after a rotation.
        expires_at: Option<Timestamp>,
    },
}

/// The permission that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The own profile and logout: any principal, even without a role.
    Profile,
    /// Using models: any role that grants the scope.
    Use(Scope),
    /// Managing: the role `admin`.
    Manage(Scope),
    /// Reading what belongs to a user: that user, or an admin.
    See(Scope, UserId),
}

impl Principal {
    /// Decides whether the principal has a permission. Its roles and, for a key, its scopes must both allow it.
    pub fn may(&self, need: Permission) -> Result<(), AccessDenied> {
        let (role, scope) = match need {
            Permission::Profile => return Ok(()),
            Permission::Use(scope) => (Role::User, scope),
            Permission::See(scope, owner) if owner == self.user_id => (Role::User, scope),
            Permission::See(scope, _) | Permission::Manage(scope) => (Role::Admin, scope),
        };
        if !(self.roles.has(Role::Admin) || self.roles.has(role)) {
            return Err(AccessDenied::Role(role));
        }
        match &self.via {
            AuthMethod::Key { scopes, .. } if !scopes.has(scope) => Err(AccessDenied::Scope(scope)),
            _ => Ok(()),
        }
    }

    /// Whether the principal may create, change and delete admins. That gives every right, so a key needs every scope.
    pub fn can_manage_admins(&self) -> Result<(), AccessDenied> {
        let AuthMethod::Key { scopes, .. } = &self.via else { return Ok(()) };
        let lacking = Scope::ALL.iter().copied().collect::<Scopes>().without(scopes);
        if lacking.is_empty() { Ok(()) } else { Err(AccessDenied::Admins(lacking)) }
    }

    /// The rights that the principal may pass on; `None` means any. `covers` tells whether one model pattern
    /// covers another.
    #[must_use]
    pub fn delegation_limits(&self, covers: fn(&str, &str) -> bool) -> Option<DelegationLimits<'_>> {
        match &self.via {
            AuthMethod::Key { scopes, models, limits, expires_at, .. } => {
                let own = Constraints { models: models.as_ref(), limits };
                let owners = Constraints { models: self.models.as_ref(), limits: &self.limits };
                Some(DelegationLimits { scopes, own, owner: self.user_id, owners, expires_at: *expires_at, covers })
            }
            AuthMethod::Session { .. } => None,
        }
    }

    /// The scopes in force: those that the roles grant and, for a key, that it has.
    #[must_use]
    pub fn effective_scopes(&self) -> Scopes {
        Scope::ALL
            .iter()
            .copied()
            .filter(|scope| self.roles.iter().any(|role| role.grants(*scope)))
            .filter(|scope| match &self.via {
                AuthMethod::Key { scopes, .. } => scopes.has(*scope),
                AuthMethod::Session { .. } => true,
            })
            .collect()
    }

    /// The allow-lists that a model must each pass: the user's and the key's.
    pub fn allow_lists(&self) -> impl Iterator<Item = &ModelPatterns> {
        let key = match &self.via {
            AuthMethod::Key { models, .. } => models.as_ref(),
            AuthMethod::Session { .. } => None,
        };
        [self.models.as_ref(), key].into_iter().flatten()
    }

    /// The credential of the key; `None` for a session.
    #[must_use]
    pub fn credential_id(&self) -> Option<CredentialId> {
        match &self.via {
            AuthMethod::Key { credential_id, .. } => Some(*credential_id),
            AuthMethod::Session { .. } => None,
        }
    }

    /// The actor of audit events.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.credential_id().map_or(Actor::User(self.user_id), Actor::Key)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn principal(roles: &[Role], scopes: Option<&[Scope]>) -> Principal {
        let via = match scopes {
            None => AuthMethod::Session { id: SessionId(uuid::Uuid::nil()) },
            Some(scopes) => AuthMethod::Key {
                credential_id: CredentialId(1),
                key_id: "0123456789".into(),
                label: "api-key".into(),
                scopes: scopes.iter().copied().collect(),
                models: None,
                limits: Limits::default(),
                expires_at: None,
            },
        };
        Principal {
            user_id: UserId(1),
            email: Email::parse("ada@example.com").unwrap(),
            roles: roles.iter().copied().collect(),
            via,
            models: None,
            limits: Limits::default(),
        }
    }

    const ME: UserId = UserId(1);
    const OTHER: UserId = UserId(2);

    #[rstest]
    #[case::anyone_has_a_profile(&[], None, Permission::Profile, Ok(()))]
    #[case::no_role_no_chat(&[], None, Permission::Use(Scope::Chat), Err(AccessDenied::Role(Role::User)))]
    #[case::user_chats(&[Role::User], None, Permission::Use(Scope::Chat), Ok(()))]
    #[case::admin_chats(&[Role::Admin], None, Permission::Use(Scope::Chat), Ok(()))]
    #[case::user_manages_nothing(&[Role::User], None, Permission::Manage(Scope::UsersRead), Err(AccessDenied::Role(Role::Admin)))]
    #[case::user_sees_itself(&[Role::User], None, Permission::See(Scope::UsersRead, ME), Ok(()))]
    #[case::user_sees_nobody_else(&[Role::User], None, Permission::See(Scope::UsersRead, OTHER), Err(AccessDenied::Role(Role::Admin)))]
    #[case::key_within_its_scope(&[Role::User], Some(&[Scope::Chat][..]), Permission::Use(Scope::Chat), Ok(()))]
    #[case::key_beyond_its_scope(&[Role::User], Some(&[Scope::Chat][..]), Permission::Use(Scope::Embed), Err(AccessDenied::Scope(Scope::Embed)))]
    #[case::scope_without_role(&[Role::User], Some(&[Scope::UsersWrite][..]), Permission::Manage(Scope::UsersWrite), Err(AccessDenied::Role(Role::Admin)))]
    #[case::role_without_scope(&[Role::Admin], Some(&[Scope::Chat][..]), Permission::Manage(Scope::UsersWrite), Err(AccessDenied::Scope(Scope::UsersWrite)))]
    #[case::inert_while_the_role_lacks(&[], Some(&[Scope::Chat][..]), Permission::Use(Scope::Chat), Err(AccessDenied::Role(Role::User)))]
    fn roles_and_scopes_must_both_allow(
        #[case] roles: &[Role],
        #[case] scopes: Option<&[Scope]>,
        #[case] need: Permission,
        #[case] decision: Result<(), AccessDenied>,
    ) {
        assert_eq!(principal(roles, scopes).may(need), decision);
    }
}
