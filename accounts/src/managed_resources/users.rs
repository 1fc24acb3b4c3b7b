//! The users of Kubernetes objects.

use paddock_store::{Tx, audit::Event, context::AuditContext, ids::UserId, retry_lost_race};

use super::{ManagedResources, OnUidMismatch, uid_check::check_uid};
use crate::{
    error::Error,
    types::{Email, Limits, ManagedBy, ModelPatterns, Role, Roles},
    user_deletion::tombstone,
    users::{
        NewUser,
        create::{check, created_event, insert},
        update::replace,
        user::{self, User},
    },
};

/// The desired user of an object.
#[derive(Clone, Debug)]
pub struct DesiredUser {
    /// The address.
    pub email: Email,
    /// The display name.
    pub display_name: Option<String>,
    /// The roles.
    pub roles: Roles,
    /// Whether the user is enabled.
    pub active: bool,
    /// The models that the user may use; `None` means all.
    pub models: Option<ModelPatterns>,
    /// The limits.
    pub limits: Limits,
}

/// What to do with an existing user of the same address that no object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Reject it with [`Error::EmailTaken`].
    Never,
    /// Adopt it if it is enabled and not an admin.
    Users,
    /// Adopt it in any case.
    Anyone,
}

/// What happens to a user when its object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionAction {
    /// The user is deleted and its keys are revoked.
    Delete,
    /// The user is disabled, so that none of its credentials is accepted.
    Disable,
    /// The user stays as it is.
    Retain,
}

impl ManagedResources<'_> {
    /// Creates or changes the user of an object.
    pub async fn apply_user(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        desired: &DesiredUser,
        adoption: Adoption,
        on_mismatch: OnUidMismatch,
    ) -> Result<User, Error> {
        check(desired.display_name.as_deref(), None, &desired.limits)?;
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let now = self.accounts.now();
            let Owned { user: found, former } = find_owned(&mut tx, owner, desired, adoption, on_mismatch).await?;
            let Some(before) = found else {
                let user = insert(&mut tx, &new_user(owner, desired), now).await?;
                tx.commit(with_former(former, created_event(&user))).await?;
                return Ok(user);
            };
            let mut after = before.clone();
            after.display_name.clone_from(&desired.display_name);
            after.roles = desired.roles.clone();
            after.models.clone_from(&desired.models);
            after.limits = desired.limits;
            after.managed_by = Some(owner.clone());
            // A user that an admin disabled stays disabled until an admin enables it.
            if before.overridden_at.is_none() {
                after.is_active = desired.active;
            }
            let Some((user, event)) = replace(&mut tx, &before, after, now).await? else {
                tx.end_unchanged().await?;
                return Ok(before);
            };
            tx.commit(with_former(former, event)).await?;
            Ok(user)
        })
        .await
    }

    /// Finds the user of an object of this name. The UID of the object may differ.
    pub async fn find_user(self, owner: &ManagedBy) -> Result<Option<User>, Error> {
        user::by_owner(self.accounts.reader().await?.conn(), owner).await
    }

    /// Deletes, disables or retains the user of a deleted object. Does nothing if there is no user,
    /// or if the user belongs to another UID.
    pub async fn release_user(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        action: DeletionAction,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let Some(user) = user::by_owner(tx.conn(), owner).await? else { return Ok(tx.end_unchanged().await?) };
            let user = user::locked(&mut tx, user.id).await?;
            if user.managed_by.as_ref() != Some(owner) {
                return Ok(tx.end_unchanged().await?);
            }
            let now = self.accounts.now();
            let event = match action {
                DeletionAction::Retain => None,
                DeletionAction::Disable => {
                    let after = User { is_active: false, ..user.clone() };
                    replace(&mut tx, &user, after, now).await?.map(|(_, event)| event)
                }
                DeletionAction::Delete => Some(tombstone(&mut tx, &user, now).await?),
            };
            let Some(event) = event else { return Ok(tx.end_unchanged().await?) };
            Ok(tx.commit(event).await?)
        })
        .await
    }
}

/// The rows of an object.
struct Owned {
    /// The user of the object, or the user of the same address that it may adopt.
    user: Option<User>,
    /// The former user of the object, under another address and UID.
    former: Option<UserId>,
}

/// Adds the former user to the event, because the row of that user changed too.
fn with_former(former: Option<UserId>, event: Event) -> Event {
    match former {
        Some(id) => event.detail(format!("user {id} was of this object before, and is of none now")),
        None => event,
    }
}

/// Locks the user that the object owns, or the user of the same address that it may adopt.
async fn find_owned(
    tx: &mut Tx,
    owner: &ManagedBy,
    desired: &DesiredUser,
    adoption: Adoption,
    on_mismatch: OnUidMismatch,
) -> Result<Owned, Error> {
    let mut former = None;
    if let Some(user) = user::by_owner(tx.conn(), owner).await? {
        // Checked under the lock: the owner may have changed since it was found.
        let user = user::locked(tx, user.id).await?;
        check_uid(user.managed_by.as_ref(), owner, on_mismatch)?;
        if user.email == desired.email {
            return Ok(Owned { user: Some(user), former });
        }
        // An object with the same name, and another UID and address, owned this user.
        user::clear_owner(tx, user.id).await?;
        former = Some(user.id);
    }
    let user = match user::by_email(tx.conn(), &desired.email).await? {
        None => None,
        Some(user) => match &user.managed_by {
            // Created by another leader between the two reads.
            Some(same) if same == owner => Some(user::locked(tx, user.id).await?),
            Some(other) => return Err(Error::Managed { kind: "ApiUser", owner: other.clone() }),
            None => Some(adopted(tx, user.id, adoption).await?),
        },
    };
    Ok(Owned { user, former })
}

/// Locks a user that no object owns, if it may be adopted. Only some namespaces may adopt an admin,
/// or a user that an admin disabled.
async fn adopted(tx: &mut Tx, id: UserId, adoption: Adoption) -> Result<User, Error> {
    let user = user::locked(tx, id).await?;
    if let Some(other) = user.managed_by {
        return Err(Error::Managed { kind: "ApiUser", owner: other });
    }
    let fits = match adoption {
        Adoption::Never => false,
        Adoption::Users => user.is_active && !user.roles.has(Role::Admin),
        Adoption::Anyone => true,
    };
    if fits { Ok(user) } else { Err(Error::EmailTaken(id)) }
}

fn new_user(owner: &ManagedBy, desired: &DesiredUser) -> NewUser {
    NewUser {
        email: desired.email.clone(),
        display_name: desired.display_name.clone(),
        external_id: None,
        is_active: desired.active,
        roles: desired.roles.clone(),
        models: desired.models.clone(),
        limits: desired.limits,
        managed_by: Some(owner.clone()),
    }
}
