//! Permissions, and the decision whether a principal has one.

use paddock_store::ids::{CredentialId, UserId};

use super::principal::{AuthMethod, Principal};
use crate::{
    error::AccessDenied,
    types::{Role, Scope},
};

/// The permission that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read the own profile, sign out, and change the own password. Every principal has this
    /// permission, even without a role.
    Profile,
    /// Use models. Requires the role `user` or `admin`.
    Use(Scope),
    /// Manage users, keys, models or the audit log. Requires the role `admin`.
    Manage(Scope),
    /// Read the data of a user. The user itself needs the role `user` or `admin`; every other
    /// principal needs the role `admin`.
    See(Scope, UserId),
    /// Revoke a key. A key may revoke itself, with any scopes and any roles of its owner. Every
    /// other revocation requires the role `admin` and, by a key, the scope `keys:write`.
    RevokeKey(CredentialId),
}

impl Principal {
    /// Checks a permission. The roles of the principal must allow it. If the principal presented a
    /// key, the scopes of the key must allow it too.
    pub fn may(&self, permission: Permission) -> Result<(), AccessDenied> {
        let (role, scope) = match permission {
            Permission::Profile => return Ok(()),
            Permission::RevokeKey(id) if self.credential_id() == Some(id) => return Ok(()),
            Permission::RevokeKey(_) => (Role::Admin, Scope::KeysWrite),
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
}

#[cfg(test)]
mod tests {
    use paddock_store::ids::SessionId;
    use rstest::rstest;

    use super::*;
    use crate::types::{Email, Limits, Priority};

    fn principal(roles: &[Role], scopes: Option<&[Scope]>) -> Principal {
        let via = match scopes {
            None => AuthMethod::Session { id: SessionId(uuid::Uuid::nil()) },
            Some(scopes) => AuthMethod::Key {
                credential_id: OWN_KEY,
                key_id: "0123456789".into(),
                label: "api-key".into(),
                scopes: scopes.iter().copied().collect(),
                models: None,
                limits: Limits::default(),
                priority: Priority::default(),
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
    /// The key of the principals with scopes.
    const OWN_KEY: CredentialId = CredentialId(1);
    const OTHER_KEY: CredentialId = CredentialId(2);

    #[rstest]
    #[case::every_principal_has_a_profile(&[], None, Permission::Profile, Ok(()))]
    #[case::no_role_no_chat(&[], None, Permission::Use(Scope::Chat), Err(AccessDenied::Role(Role::User)))]
    #[case::user_chats(&[Role::User], None, Permission::Use(Scope::Chat), Ok(()))]
    #[case::admin_chats(&[Role::Admin], None, Permission::Use(Scope::Chat), Ok(()))]
    #[case::user_manages_nothing(&[Role::User], None, Permission::Manage(Scope::UsersRead), Err(AccessDenied::Role(Role::Admin)))]
    #[case::user_sees_itself(&[Role::User], None, Permission::See(Scope::UsersRead, ME), Ok(()))]
    #[case::user_does_not_see_others(&[Role::User], None, Permission::See(Scope::UsersRead, OTHER), Err(AccessDenied::Role(Role::Admin)))]
    #[case::key_within_its_scope(&[Role::User], Some(&[Scope::Chat][..]), Permission::Use(Scope::Chat), Ok(()))]
    #[case::key_beyond_its_scope(&[Role::User], Some(&[Scope::Chat][..]), Permission::Use(Scope::Embed), Err(AccessDenied::Scope(Scope::Embed)))]
    #[case::scope_without_role(&[Role::User], Some(&[Scope::UsersWrite][..]), Permission::Manage(Scope::UsersWrite), Err(AccessDenied::Role(Role::Admin)))]
    #[case::role_without_scope(&[Role::Admin], Some(&[Scope::Chat][..]), Permission::Manage(Scope::UsersWrite), Err(AccessDenied::Scope(Scope::UsersWrite)))]
    #[case::inert_while_the_role_lacks(&[], Some(&[Scope::Chat][..]), Permission::Use(Scope::Chat), Err(AccessDenied::Role(Role::User)))]
    #[case::key_revokes_itself(&[], Some(&[][..]), Permission::RevokeKey(OWN_KEY), Ok(()))]
    #[case::key_of_a_user_revokes_no_other(&[Role::User], Some(&[Scope::KeysWrite][..]), Permission::RevokeKey(OTHER_KEY), Err(AccessDenied::Role(Role::Admin)))]
    #[case::key_without_the_scope_revokes_no_other(&[Role::Admin], Some(&[Scope::Chat][..]), Permission::RevokeKey(OTHER_KEY), Err(AccessDenied::Scope(Scope::KeysWrite)))]
    #[case::admin_key_revokes_another(&[Role::Admin], Some(&[Scope::KeysWrite][..]), Permission::RevokeKey(OTHER_KEY), Ok(()))]
    #[case::user_session_revokes_none(&[Role::User], None, Permission::RevokeKey(OWN_KEY), Err(AccessDenied::Role(Role::Admin)))]
    fn roles_and_scopes_must_both_allow(
        #[case] roles: &[Role],
        #[case] scopes: Option<&[Scope]>,
        #[case] need: Permission,
        #[case] decision: Result<(), AccessDenied>,
    ) {
        assert_eq!(principal(roles, scopes).may(need), decision);
    }
}
