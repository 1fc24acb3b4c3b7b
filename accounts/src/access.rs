//! What a principal may do: the one place where that is decided.

use crate::{
    clock::Time,
    context::Actor,
    credentials::{Bounds, CredentialId, Reach, granted_by},
    email::Email,
    limits::Limits,
    patterns::ModelPatterns,
    sessions::SessionId,
    sets::{Role, Roles, Scope, Scopes, Word},
    users::UserId,
};

/// Someone whose credential was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user, or the owner of the key.
    pub user_id: UserId,
    /// The user's address.
    pub email: Email,
    /// The user's present roles.
    pub roles: Roles,
    /// What was presented.
    pub via: Via,
    /// The models the user is narrowed to.
    pub models: Option<ModelPatterns>,
    /// The user's limits.
    pub limits: Limits,
}

/// What a principal presented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a principal is made once and then shared")]
pub enum Via {
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
        /// What people call it.
        label: String,
        /// What it is for.
        scopes: Scopes,
        /// The models the key is narrowed to, beside its owner's.
        models: Option<ModelPatterns>,
        /// The key's own limits, beside its owner's.
        limits: Limits,
        /// When what was presented ends: with the key, at a time of its own, or because another secret took over.
        expires_at: Option<Time>,
    },
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be someone: one's own profile and logout, also without a role.
    Profile,
    /// To use models: a role that grants the scope.
    Use(Scope),
    /// To manage: the role `admin`.
    Manage(Scope),
    /// To see what belongs to a user: that user, or an admin.
    See(Scope, UserId),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The key lacks the scope.
    #[error("this API key lacks the scope `{}`", .0.text())]
    Scope(Scope),
    /// The user lacks the role.
    #[error("this needs the role `{}`", .0.text())]
    Role(Role),
    /// The key lacks some of all scopes.
    #[error("only a session, or an API key with every scope, makes, changes or deletes an admin: this one lacks {0}")]
    Admins(Scopes),
}

impl Principal {
    /// The decision: present roles and, for a key, its scopes, both must allow.
    pub fn may(&self, need: Need) -> Result<(), Denied> {
        let (role, scope) = match need {
            Need::Profile => return Ok(()),
            Need::Use(scope) => (Role::User, scope),
            Need::See(scope, owner) if owner == self.user_id => (Role::User, scope),
            Need::See(scope, _) | Need::Manage(scope) => (Role::Admin, scope),
        };
        if !(self.roles.has(Role::Admin) || self.roles.has(role)) {
            return Err(Denied::Role(role));
        }
        match &self.via {
            Via::Key { scopes, .. } if !scopes.has(scope) => Err(Denied::Scope(scope)),
            _ => Ok(()),
        }
    }

    /// Whether it may make, change and delete admins. Whoever may do that can have every right: a key must have every scope.
    pub fn may_touch_admins(&self) -> Result<(), Denied> {
        let Via::Key { scopes, .. } = &self.via else { return Ok(()) };
        let lacking = Scope::ALL.iter().copied().collect::<Scopes>().without(scopes);
        if lacking.is_empty() { Ok(()) } else { Err(Denied::Admins(lacking)) }
    }

    /// What it may give at the most: a key what it and its owner have; `None`: anything. `covers` says what patterns mean.
    #[must_use]
    pub fn reach(&self, covers: fn(&str, &str) -> bool) -> Option<Reach<'_>> {
        match &self.via {
            Via::Key { scopes, models, limits, expires_at, .. } => {
                let own = Bounds { models: models.as_ref(), limits };
                let owners = Bounds { models: self.models.as_ref(), limits: &self.limits };
                Some(Reach { scopes, own, owner: self.user_id, owners, expires_at: *expires_at, covers })
            }
            Via::Session { .. } => None,
        }
    }

    /// The scopes in force: what the roles grant and, for a key, what it was given.
    #[must_use]
    pub fn effective_scopes(&self) -> Scopes {
        Scope::ALL
            .iter()
            .copied()
            .filter(|scope| self.roles.iter().any(|role| granted_by(role, *scope)))
            .filter(|scope| match &self.via {
                Via::Key { scopes, .. } => scopes.has(*scope),
                Via::Session { .. } => true,
            })
            .collect()
    }

    /// The allow-lists a model must pass, each one: the user's and the key's.
    pub fn allow_lists(&self) -> impl Iterator<Item = &ModelPatterns> {
        let key = match &self.via {
            Via::Key { models, .. } => models.as_ref(),
            Via::Session { .. } => None,
        };
        [self.models.as_ref(), key].into_iter().flatten()
    }

    /// The key that was presented, if it was one.
    #[must_use]
    pub fn credential_id(&self) -> Option<CredentialId> {
        match &self.via {
            Via::Key { credential_id, .. } => Some(*credential_id),
            Via::Session { .. } => None,
        }
    }

    /// Who audit says acted.
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
            None => Via::Session { id: SessionId(uuid::Uuid::nil()) },
            Some(scopes) => Via::Key {
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
    #[case::anyone_has_a_profile(&[], None, Need::Profile, Ok(()))]
    #[case::no_role_no_chat(&[], None, Need::Use(Scope::Chat), Err(Denied::Role(Role::User)))]
    #[case::user_chats(&[Role::User], None, Need::Use(Scope::Chat), Ok(()))]
    #[case::admin_chats(&[Role::Admin], None, Need::Use(Scope::Chat), Ok(()))]
    #[case::user_manages_nothing(&[Role::User], None, Need::Manage(Scope::UsersRead), Err(Denied::Role(Role::Admin)))]
    #[case::user_sees_itself(&[Role::User], None, Need::See(Scope::UsersRead, ME), Ok(()))]
    #[case::user_sees_nobody_else(&[Role::User], None, Need::See(Scope::UsersRead, OTHER), Err(Denied::Role(Role::Admin)))]
    #[case::key_within_its_scope(&[Role::User], Some(&[Scope::Chat][..]), Need::Use(Scope::Chat), Ok(()))]
    #[case::key_beyond_its_scope(&[Role::User], Some(&[Scope::Chat][..]), Need::Use(Scope::Embed), Err(Denied::Scope(Scope::Embed)))]
    #[case::scope_without_role(&[Role::User], Some(&[Scope::UsersWrite][..]), Need::Manage(Scope::UsersWrite), Err(Denied::Role(Role::Admin)))]
    #[case::role_without_scope(&[Role::Admin], Some(&[Scope::Chat][..]), Need::Manage(Scope::UsersWrite), Err(Denied::Scope(Scope::UsersWrite)))]
    #[case::inert_while_the_role_lacks(&[], Some(&[Scope::Chat][..]), Need::Use(Scope::Chat), Err(Denied::Role(Role::User)))]
    fn roles_and_scopes_must_both_allow(
        #[case] roles: &[Role],
        #[case] scopes: Option<&[Scope]>,
        #[case] need: Need,
        #[case] decision: Result<(), Denied>,
    ) {
        assert_eq!(principal(roles, scopes).may(need), decision);
    }
}
