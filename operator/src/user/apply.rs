//! Makes the user as the object asks.

use kube::Resource;
use paddock_accounts::{
    Error as AccountsError,
    managed_resources::{Adoption, DesiredUser, OnUidMismatch},
    users::User,
};
use paddock_crds::{AdoptionPolicy, ApiUser};

use crate::conditions::{Reason, Refusal};
use crate::error::Failure;
use crate::fence;
use crate::object::{Object, namespace_of};
use crate::shared::{Shared, context};
use crate::user::validate;

/// What came of it; only this module makes an `Applied`.
pub(crate) enum Outcome {
    Applied(Box<Applied>),
    Refused(Refusal),
}

/// A user that is as its object asks.
pub(crate) struct Applied {
    pub(super) user: User,
    /// Keys that are not revoked.
    pub(super) keys: i64,
    _sealed: (),
}

/// Creates or changes the user.
pub(crate) async fn user(shared: &Shared, object: &ApiUser, desired: &DesiredUser) -> Result<Outcome, Failure> {
    let owner = shared.owner(object.meta());
    if shared.accounts.managed().find_user(&owner).await?.is_none()
        && let Some(winner) = older_rival(shared, object, desired)
    {
        return Ok(Outcome::Refused(conflict(&winner)));
    }
    let adoption = match object.spec.adoption_policy {
        AdoptionPolicy::Never => Adoption::Never,
        AdoptionPolicy::IfUnmanaged if shared.settings.admin_namespaces.contains(&namespace_of(object)) => {
            Adoption::Anyone
        }
        AdoptionPolicy::IfUnmanaged => Adoption::Users,
    };
    let context = context(ApiUser::KIND, object);
    let accounts = &shared.accounts;
    let mut result = accounts.managed().apply_user(&context, &owner, desired, adoption, OnUidMismatch::Reject).await;
    if matches!(result, Err(AccountsError::UidMismatch(_))) && fence::is_present(&shared.client, object).await? {
        result = accounts.managed().apply_user(&context, &owner, desired, adoption, OnUidMismatch::TakeOver).await;
    }
    match result {
        Ok(user) => {
            let keys = accounts.credentials().list(Some(user.id)).await?;
            let live = keys.iter().filter(|key| key.revoked_at.is_none()).count();
            let keys = i64::try_from(live).unwrap_or(i64::MAX);
            Ok(Outcome::Applied(Box::new(Applied { user, keys, _sealed: () })))
        }
        Err(error) => refusal(error).map(Outcome::Refused),
    }
}

/// What an error means for the object; what is not the object's fault stays an error.
fn refusal(error: AccountsError) -> Result<Refusal, Failure> {
    match error {
        AccountsError::Invalid(_) => Ok(Refusal::new(Reason::InvalidSpec, error.to_string())),
        AccountsError::EmailTaken(id) => Ok(Refusal::new(
            Reason::EmailTaken,
            format!(
                "spec.email belongs to user {id}, which no object manages; adoptionPolicy: IfUnmanaged takes it over if it \
                 is active and no admin, and from the namespaces of ADMIN_NAMESPACES whoever it is; or use another e-mail"
            ),
        )),
        AccountsError::Managed { owner, .. } => Ok(conflict(&owner.to_string())),
        AccountsError::LastAdmin => Ok(Refusal::new(Reason::LastAdmin, error.to_string())),
        AccountsError::UidMismatch(_) => Err(Failure::Overtaken("a younger object of the same name")),
        other => Err(other.into()),
    }
}

fn conflict(winner: &str) -> Refusal {
    let message =
        format!("spec.email belongs to ApiUser {winner}; delete one of the two objects, or use another e-mail");
    Refusal::new(Reason::Conflict, message)
}

/// Of several objects that ask for one address the oldest wins, also when they are all seen for the first time.
fn older_rival(shared: &Shared, object: &ApiUser, desired: &DesiredUser) -> Option<String> {
    let rivals = shared.users.filter(|other| {
        other.meta().deletion_timestamp.is_none()
            && other.meta().uid != object.meta().uid
            && validate::email(other).is_some_and(|email| email == desired.email)
            && age(other) < age(object)
    });
    let oldest = rivals.iter().filter_map(|rival| rival.0.as_ref().ok()).min_by_key(|rival| age(rival))?;
    Some(format!("{}/{}", namespace_of(oldest), oldest.meta().name.clone().unwrap_or_default()))
}

/// An order of objects: by creation, then by name, so that two of the same second have one too.
fn age(object: &ApiUser) -> impl Ord + use<> {
    let meta = object.meta();
    (meta.creation_timestamp.clone(), meta.namespace.clone(), meta.name.clone())
}
