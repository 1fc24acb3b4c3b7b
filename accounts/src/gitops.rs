//! Users and keys as Kubernetes objects want them.
//!
//! Every operation is idempotent and carries the object that asks. A row that another life of the same name applied answers
//! [`Error::Fenced`]: the caller makes sure at the API server that its own object is the present one and asks again with
//! `takeover`.

use scoped_futures::ScopedFutureExt;

use crate::{
    Accounts,
    audit::EventType,
    clock::Time,
    context::Context,
    credentials::{self, Credential, CredentialId, Draft},
    email::Email,
    error::Error,
    limits::Limits,
    managed::ManagedBy,
    patterns::ModelPatterns,
    secrets,
    sets::{Role, Roles, Scopes},
    store::{Outcome, Tx},
    users::{self, NewUser, User, UserId},
};

/// A user as an object wants it.
#[derive(Clone, Debug)]
pub struct DesiredUser {
    /// The address.
    pub email: Email,
    /// The name people see.
    pub display_name: Option<String>,
    /// What it is.
    pub roles: Roles,
    /// Whether it may act.
    pub active: bool,
    /// The models it is narrowed to.
    pub models: Option<ModelPatterns>,
    /// Its limits.
    pub limits: Limits,
}

/// What to do with a user of that address whom no object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Leave it: [`Error::EmailTaken`].
    Never,
    /// Take it under the object's care if it is active and no admin.
    Users,
    /// Take it under the object's care, whoever it is.
    Anyone,
}

/// What becomes of a user whose object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserEnd {
    /// A tombstone, its keys revoked.
    Delete,
    /// Disabled, so that nothing of it authenticates.
    Disable,
    /// As it is.
    Retain,
}

/// A key as an object wants it.
#[derive(Clone, Debug)]
pub struct DesiredKey {
    /// Whose it is.
    pub user_id: UserId,
    /// What people call it.
    pub label: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The models it is narrowed to.
    pub models: Option<ModelPatterns>,
    /// Its own limits.
    pub limits: Limits,
    /// When it ends.
    pub expires_at: Option<Time>,
}

impl Accounts {
    /// Creates or changes the user of an object.
    pub async fn apply_user(
        &self,
        context: &Context,
        owner: &ManagedBy,
        desired: &DesiredUser,
        adoption: Adoption,
        takeover: bool,
    ) -> Result<User, Error> {
        users::check(desired.display_name.as_deref(), None, &desired.limits)?;
        self.write(context, |tx| {
            async move {
                let now = self.now();
                let Owned { user, left_behind } = owned_user(tx, owner, desired, adoption, takeover).await?;
                let Some(before) = user else {
                    let user = users::insert(tx.conn(), &new_user(owner, desired), now).await?;
                    let event = users::created_event(&user);
                    return Ok(telling_of(left_behind, Outcome::changed(user, event)));
                };
                let mut after = before.clone();
                after.display_name.clone_from(&desired.display_name);
                after.roles = desired.roles.clone();
                after.models.clone_from(&desired.models);
                after.limits = desired.limits;
                after.managed_by = Some(owner.clone());
                // What an admin disabled stays so, whatever Git says, until an admin enables it.
                if before.overridden_at.is_none() {
                    after.is_active = desired.active;
                }
                users::replace(tx, &before, after, now).await.map(|outcome| telling_of(left_behind, outcome))
            }
            .scope_boxed()
        })
        .await
    }

    /// The user of an object, whichever life of the object it was made for.
    pub async fn owned_user(&self, owner: &ManagedBy) -> Result<Option<User>, Error> {
        users::by_owner(self.reader().await?.conn(), owner).await
    }

    /// Ends the user of an object that goes. None there, or taken over by another life: nothing changes.
    pub async fn release_user(&self, context: &Context, owner: &ManagedBy, end: UserEnd) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                let Some(user) = users::by_owner(tx.conn(), owner).await? else { return Ok(Outcome::Unchanged(())) };
                let user = users::locked(tx, user.id).await?;
                if user.managed_by.as_ref() != Some(owner) {
                    return Ok(Outcome::Unchanged(()));
                }
                match end {
                    UserEnd::Retain => Ok(Outcome::Unchanged(())),
                    UserEnd::Disable => {
                        let after = User { is_active: false, ..user.clone() };
                        Ok(match users::replace(tx, &user, after, self.now()).await? {
                            Outcome::Changed(_, event) => Outcome::Changed((), event),
                            Outcome::Unchanged(_) => Outcome::Unchanged(()),
                        })
                    }
                    UserEnd::Delete => {
                        let event = users::bury(tx, &user, self.now()).await?;
                        Ok(Outcome::changed((), event))
                    }
                }
            }
            .scope_boxed()
        })
        .await
    }

    /// The credential of an object, whichever life of the object it was made for.
    pub async fn owned_key(&self, owner: &ManagedBy) -> Result<Option<Credential>, Error> {
        credentials::by_owner(self.reader().await?.conn(), owner).await
    }

    /// Creates or changes the credential of an object; its secrets come by [`Accounts::stage_secret`] and
    /// [`Accounts::activate_secret`]. A revoked one is answered as it is. An expiry that lies in the past is refused only
    /// for a new one; a key that is there has simply ended.
    pub async fn apply_key(
        &self,
        context: &Context,
        owner: &ManagedBy,
        desired: &DesiredKey,
        takeover: bool,
    ) -> Result<Credential, Error> {
        credentials::check(&desired.label, &desired.limits, None, self.now())?;
        self.write(context, |tx| {
            async move {
                let now = self.now();
                let user = users::locked(tx, desired.user_id).await?;
                credentials::within_role(&user, &desired.scopes)?;
                let Some(before) = credentials::by_owner(tx.conn(), owner).await? else {
                    credentials::check(&desired.label, &desired.limits, desired.expires_at, now)?;
                    let credential = credentials::insert(tx.conn(), &draft(owner, desired), now).await?;
                    let event = credentials::issued_event(EventType::ApiKeyCreated, &credential);
                    return Ok(Outcome::changed(credential, event));
                };
                let before = credentials::locked(tx, before.id).await?;
                fence(before.managed_by.as_ref(), owner, takeover)?;
                // Revoked stays revoked: within one life of the object and its user, and where an admin did it, in the next
                // ones too.
                let same_life = before.managed_by.as_ref() == Some(owner) && before.user_id == desired.user_id;
                if before.revoked_at.is_some() && (same_life || before.overridden_at.is_some()) {
                    return Ok(Outcome::Unchanged(before));
                }
                if before.user_id != desired.user_id || before.revoked_at.is_some() {
                    return renew(tx, before, owner, desired, now).await;
                }
                let mut after = before.clone();
                after.label.clone_from(&desired.label);
                after.scopes = desired.scopes.clone();
                after.models.clone_from(&desired.models);
                after.limits = desired.limits;
                after.expires_at = desired.expires_at;
                after.managed_by = Some(owner.clone());
                let Some(event) = credentials::difference(&before, &after) else {
                    return Ok(Outcome::Unchanged(before));
                };
                credentials::update(tx.conn(), &after, now).await?;
                Ok(Outcome::changed(after, event))
            }
            .scope_boxed()
        })
        .await
    }

    /// Revokes the credential of an object that goes, or that says `revoked: true`. None there, or revoked already: nothing
    /// changes.
    pub async fn revoke_owned_key(
        &self,
        context: &Context,
        owner: &ManagedBy,
        takeover: bool,
    ) -> Result<Option<CredentialId>, Error> {
        self.write(context, |tx| {
            async move {
                let Some(key) = credentials::by_owner(tx.conn(), owner).await? else {
                    return Ok(Outcome::Unchanged(None));
                };
                let key = credentials::locked(tx, key.id).await?;
                fence(key.managed_by.as_ref(), owner, takeover)?;
                let id = Some(key.id);
                if key.revoked_at.is_some() {
                    return Ok(Outcome::Unchanged(id));
                }
                let event = credentials::revoke(tx, key, false, self.now()).await?;
                Ok(Outcome::changed(id, event))
            }
            .scope_boxed()
        })
        .await
    }
}

/// What is there for an object.
struct Owned {
    /// Its user, or the one of the same address that it may adopt.
    user: Option<User>,
    /// The user that it owned under another address in an earlier life, and owns no longer.
    left_behind: Option<UserId>,
}

/// The event, which also says who was left behind: the row of that user has changed with it.
fn telling_of(left_behind: Option<UserId>, outcome: Outcome<User>) -> Outcome<User> {
    match (left_behind, outcome) {
        (Some(id), Outcome::Changed(user, event)) => {
            Outcome::changed(user, event.detail(format!("user {id} was of this object before, and is of none now")))
        }
        (_, outcome) => outcome,
    }
}

/// The user the object owns, or the one of the same address that it may adopt.
async fn owned_user(
    tx: &mut Tx,
    owner: &ManagedBy,
    desired: &DesiredUser,
    adoption: Adoption,
    takeover: bool,
) -> Result<Owned, Error> {
    let mut left_behind = None;
    if let Some(user) = users::by_owner(tx.conn(), owner).await? {
        // Judged once it is locked: it may have changed hands since it was found.
        let user = users::locked(tx, user.id).await?;
        fence(user.managed_by.as_ref(), owner, takeover)?;
        if user.email == desired.email {
            return Ok(Owned { user: Some(user), left_behind });
        }
        // Left behind by an earlier life of the object, which had another address.
        users::disown(tx, user.id).await?;
        left_behind = Some(user.id);
    }
    let user = match users::by_email(tx.conn(), &desired.email).await? {
        None => None,
        Some(user) => match &user.managed_by {
            // Made by another leader between the two looks.
            Some(same) if same == owner => Some(users::locked(tx, user.id).await?),
            Some(other) => return Err(Error::Managed { kind: "ApiUser", owner: other.clone() }),
            None => Some(adopted(tx, user.id, adoption).await?),
        },
    };
    Ok(Owned { user, left_behind })
}

/// A user that no object owns, if it may be taken over. An admin, and whom an admin disabled, are not for every namespace.
async fn adopted(tx: &mut Tx, id: UserId, adoption: Adoption) -> Result<User, Error> {
    let user = users::locked(tx, id).await?;
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

/// Only the present life of an object may touch its row.
fn fence(present: Option<&ManagedBy>, owner: &ManagedBy, takeover: bool) -> Result<(), Error> {
    match present {
        Some(other) if other.uid != owner.uid && !takeover => Err(Error::Fenced(other.clone())),
        _ => Ok(()),
    }
}

/// A credential that ended, or was another user's, cannot come to life again: it steps aside and a new one is made.
async fn renew(
    tx: &mut Tx,
    before: Credential,
    owner: &ManagedBy,
    desired: &DesiredKey,
    now: Time,
) -> Result<Outcome<Credential>, Error> {
    let aside = Credential { managed_by: None, revoked_at: before.revoked_at.or(Some(now)), ..before };
    credentials::update(tx.conn(), &aside, now).await?;
    secrets::revoke_all(tx, aside.id).await?;
    let credential = credentials::insert(tx.conn(), &draft(owner, desired), now).await?;
    let event = credentials::issued_event(EventType::ApiKeyCreated, &credential)
        .detail(format!("takes the place of credential {}", aside.id))
        .also_about(aside.user_id);
    Ok(Outcome::changed(credential, event))
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

fn draft(owner: &ManagedBy, desired: &DesiredKey) -> Draft {
    Draft {
        user_id: desired.user_id,
        label: desired.label.clone(),
        scopes: desired.scopes.clone(),
        models: desired.models.clone(),
        limits: desired.limits,
        expires_at: desired.expires_at,
        managed_by: Some(owner.clone()),
    }
}
