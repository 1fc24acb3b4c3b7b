//! Creates or changes the user of an object.

use kube::Resource;
use paddock_accounts::{
    Error as AccountsError, UserId,
    managed_resources::{Adoption, DesiredUser},
    users::User,
};
use paddock_crds::{AdoptionPolicy, ApiUser};

use crate::{
    context::{Context, Settings, audit_context},
    error::ReconcileError,
    object::{namespace_of, takeover::with_uid_check},
    status::conditions::{Blocked, Reason},
    user::validate,
};

/// The result of [`apply_user`].
pub(crate) enum Applied {
    User(Box<AppliedUser>),
    /// The spec is refused. `user` is the user of the object, if it has one, with the rights that
    /// are in force.
    Blocked {
        blocked: Blocked,
        user: Option<Box<User>>,
    },
}

impl From<Blocked> for Applied {
    fn from(blocked: Blocked) -> Self {
        Self::Blocked { blocked, user: None }
    }
}

/// A user to which the spec is applied. Only this module can build one, so that a status cannot
/// report a user that was not applied.
pub(crate) struct AppliedUser {
    pub(super) user: User,
    /// The number of keys that are not revoked.
    pub(super) key_count: i64,
    /// The password that the object says: set, or why it is not. `None` if it says nothing.
    pub(super) password: Option<Result<(), Blocked>>,
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
        return Ok(email_conflict(&winner).into());
    }
    let adoption = adoption(object, &context.settings);
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
            Ok(Applied::User(Box::new(AppliedUser { user, key_count, password: None, _sealed: () })))
        }
        Err(ReconcileError::Accounts(error)) => blocked_by(object, adoption, error).map(Applied::from),
        Err(error) => Err(error),
    }
}

/// Returns which users that no object manages the object may take over.
fn adoption(object: &ApiUser, settings: &Settings) -> Adoption {
    let namespace = namespace_of(object);
    match object.spec.adoption_policy {
        AdoptionPolicy::Never => Adoption::Never,
        AdoptionPolicy::IfUnmanaged if !settings.adoption_namespaces.contains(&namespace) => Adoption::Never,
        AdoptionPolicy::IfUnmanaged if settings.admin_namespaces.contains(&namespace) => Adoption::Anyone,
        AdoptionPolicy::IfUnmanaged => Adoption::Users,
    }
}

/// Turns an error that the object's author can resolve into a [`Blocked`]. Returns any other error.
fn blocked_by(object: &ApiUser, adoption: Adoption, error: AccountsError) -> Result<Blocked, ReconcileError> {
    match error {
        AccountsError::Invalid(_) => Ok(Blocked::new(Reason::InvalidSpec, error.to_string())),
        AccountsError::EmailTaken(id) => Ok(email_taken(object, adoption, id)),
        AccountsError::Managed { owner, .. } => Ok(email_conflict(&owner.to_string())),
        AccountsError::LastAdmin => Ok(Blocked::new(Reason::LastAdmin, error.to_string())),
        other => Err(other.into()),
    }
}

fn email_taken(object: &ApiUser, adoption: Adoption, id: UserId) -> Blocked {
    let taken = format!("spec.email belongs to user {id}, which no object manages");
    match (object.spec.adoption_policy, adoption) {
        (AdoptionPolicy::IfUnmanaged, Adoption::Never) => {
            let namespace = namespace_of(object);
            let message = format!(
                "{taken}, and objects in namespace {namespace} may not take users over; use another e-mail, or have an \
                 admin add the namespace to the operator's ADOPTION_NAMESPACES"
            );
            Blocked::new(Reason::AdoptionNotAllowed, message)
        }
        (AdoptionPolicy::IfUnmanaged, _) => {
            let message = format!(
                "{taken}; it is an admin or inactive, and may be taken over only from the namespaces that ADMIN_NAMESPACES \
                 lists; use another e-mail, or make it an active user without the role admin"
            );
            Blocked::new(Reason::EmailTaken, message)
        }
        (AdoptionPolicy::Never, _) => {
            let message =
                format!("{taken}; use another e-mail, or set adoptionPolicy: IfUnmanaged to take the user over");
            Blocked::new(Reason::EmailTaken, message)
        }
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
