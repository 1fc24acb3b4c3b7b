//! The authenticated principal: its user, its credential, and the rights of both.

use paddock_store::{
    clock::Timestamp,
    context::Actor,
    ids::{CredentialId, SessionId, UserId},
};

use super::delegation::{Constraints, CoversModels, DelegationLimits};
use crate::{
    error::AccessDenied,
    types::{Email, Limits, ModelPatterns, Priority, Roles, Scope, Scopes, TextEnum as _},
};

/// An authenticated user, with the presented credential.
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
        /// The models that the key may use. The restriction of its owner applies too.
        models: Option<ModelPatterns>,
        /// The key's own limits. The limits of the owner apply too.
        limits: Limits,
        /// The band of its requests in the queue.
        priority: Priority,
        /// When the presented secret ends: at the expiry of the key, at the expiry of the secret or
        /// at the end of the grace, whichever is earliest.
        expires_at: Option<Timestamp>,
    },
}

impl Principal {
    /// Checks that the principal may create, change and delete admins. A key needs every scope for
    /// that, because an admin has every right.
    pub fn can_manage_admins(&self) -> Result<(), AccessDenied> {
        let AuthMethod::Key { scopes, .. } = &self.via else { return Ok(()) };
        let lacking = Scope::ALL.iter().copied().collect::<Scopes>().without(scopes);
        if lacking.is_empty() { Ok(()) } else { Err(AccessDenied::Admins(lacking)) }
    }

    /// Returns the rights that the principal may pass on; `None` means all.
    #[must_use]
    pub fn delegation_limits(&self, covers: CoversModels) -> Option<DelegationLimits<'_>> {
        match &self.via {
            AuthMethod::Key { scopes, models, limits, priority, expires_at, .. } => {
                let own = Constraints { models: models.as_ref(), limits, priority: *priority };
                let (models, limits) = (self.models.as_ref(), &self.limits);
                let owners = Constraints { models, limits, priority: Priority::Interactive };
                Some(DelegationLimits { scopes, own, owner: self.user_id, owners, expires_at: *expires_at, covers })
            }
            AuthMethod::Session { .. } => None,
        }
    }

    /// Returns the effective scopes: the scopes that the roles grant, without the scopes that the
    /// key lacks.
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

    /// Returns the allow-lists of the user and of the key. A model must match each of them.
    pub fn allow_lists(&self) -> impl Iterator<Item = &ModelPatterns> {
        let key = match &self.via {
            AuthMethod::Key { models, .. } => models.as_ref(),
            AuthMethod::Session { .. } => None,
        };
        [self.models.as_ref(), key].into_iter().flatten()
    }

    /// Returns the id of the API key; `None` for a session.
    #[must_use]
    pub fn credential_id(&self) -> Option<CredentialId> {
        match &self.via {
            AuthMethod::Key { credential_id, .. } => Some(*credential_id),
            AuthMethod::Session { .. } => None,
        }
    }

    /// Returns the band of the requests in the queue.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match &self.via {
            AuthMethod::Key { priority, .. } => *priority,
            AuthMethod::Session { .. } => Priority::Interactive,
        }
    }

    /// Returns the actor for audit events.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.credential_id().map_or(Actor::User(self.user_id), Actor::Key)
    }
}
