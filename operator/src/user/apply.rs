//! Creates or changes the user of an object.

use kube::Resource;
use paddock_accounts::{
    Error as AccountsError,
    managed_resources::{Adoption, DesiredUser},
    users::User,
};
use paddock_crds::{AdoptionPolicy, ApiUser};

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    object::{namespace_of, takeover::with_uid_check},
    status::conditions::{Blocked, Reason},
    user::validate,
};

/// The result of [`apply_user`].
pub(crate) enum Applied {
    User(Box<AppliedUser>),
    Blocked(Blocked),
}

/// A user to which the spec is applied. Only this module can build one, so that a status cannot
/// report a user that was not applied.
pub(crate) struct AppliedUser {
    pub(super) user: User,
    /// The number of keys that are not revoked.
    pub(super) key_count: i64,
    _sealed: (),
}

/// Creates or changes the user.
pub(crate) async fn apply_user(
    context: &Context,
    object: &ApiUser,
    desired: &DesiredUser,
) -> Result<Applied, ReconcileError> {
    let owner = context.owner(object);
    if context.accounts.managed().find_user(&owner).await?.is_none()
        && let Some(winner) = older_rival(context, object, desired)
    {
        return Ok(Applied::Blocked(email_conflict(&winner)));
    }
    let adoption = match object.spec.adoption_policy {
        AdoptionPolicy::Never => Adoption::Never,
        AdoptionPolicy::IfUnmanaged if context.settings.admin_namespaces.contains(&namespace_of(object)) => {
            Adoption::Anyone
        }
        AdoptionPolicy::IfUnmanaged => Adoption::Users,
    };
    let audit = audit_context(object);
    let accounts = &context.accounts;
    let result = with_uid_check(&context.client, object, |on_uid_mismatch| {
        accounts.managed().apply_user(&audit, &owner, desired, adoption, on_uid_mismatch)
    })
    .await;
    match result {
        Ok(user) => {
            let keys = accounts.credentials().list(Some(user.id)).await?;
            let key_count = keys.iter().filter(|key| key.revoked_at.is_none()).count();
            let key_count = i64::try_from(key_count).unwrap_or(i64::MAX);
            Ok(Applied::User(Box::new(AppliedUser { user, key_count, _sealed: () })))
        }
        Err(ReconcileError::Accounts(error)) => blocked_by(error).map(Applied::Blocked),
        Err(error) => Err(error),
    }
}

/// Turns an error that the object's author can resolve into a [`Blocked`]. Returns any other error.
fn blocked_by(error: AccountsError) -> Result<Blocked, ReconcileError> {
    match error {
        AccountsError::Invalid(_) => Ok(Blocked::new(Reason::InvalidSpec, error.to_string())),
        AccountsError::EmailTaken(id) => Ok(Blocked::new(
            Reason::EmailTaken,
            format!(
                "spec.email belongs to user {id}, which no object manages; use another e-mail, or set adoptionPolicy: \
                 IfUnmanaged to take the user over. In namespaces outside ADMIN_NAMESPACES the user must be active and no \
                 admin"
            ),
        )),
        AccountsError::Managed { owner, .. } => Ok(email_conflict(&owner.to_string())),
        AccountsError::LastAdmin => Ok(Blocked::new(Reason::LastAdmin, error.to_string())),
        other => Err(other.into()),
    }
}

fn email_conflict(winner: &str) -> Blocked {
    let message =
        format!("spec.email belongs to ApiUser {winner}; delete one of the two objects, or use another e-mail");
    Blocked::new(Reason::Conflict, message)
}

/// Returns the oldest other object with the same e-mail, if it is older than this one. The oldest
/// object wins, also when the operator sees all of them for the first time.
fn older_rival(context: &Context, object: &ApiUser, desired: &DesiredUser) -> Option<String> {
    let rivals = context.users.filter(|other| {
        other.meta().deletion_timestamp.is_none()
            && other.meta().uid != object.meta().uid
            && validate::desired_email(other).is_some_and(|email| email == desired.email)
            && age(other) < age(object)
    });
    let oldest = rivals.iter().filter_map(|rival| rival.0.as_ref().ok()).min_by_key(|rival| age(rival))?;
    Some(format!("{}/{}", namespace_of(oldest), oldest.meta().name.clone().unwrap_or_default()))
}

/// Orders objects by creation time, then by name, because creation times have whole seconds.
fn age(object: &ApiUser) -> impl Ord + use<> {
    let meta = object.meta();
    (meta.creation_timestamp.clone(), meta.namespace.clone(), meta.name.clone())
}
