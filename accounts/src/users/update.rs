//! Changing a user.

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    retry_lost_race, statements, with_conn,
};

use super::{
    Users,
    create::check,
    last_admin,
    user::{User, locked},
};
use crate::{
    error::{AccessDenied, Error},
    types::{Limits, LimitsPatch, ModelPatterns, Role, Roles, bind_limits},
};

statements! {
    UPDATE = "UPDATE users SET display_name = $2, is_active = $3, roles = $4, models = $5, requests_per_minute = $6, \
              tokens_per_minute = $7, tokens_per_day = $8, tokens_per_month = $9, max_concurrent = $10, \
              managed_cluster = $11, managed_namespace = $12, managed_name = $13, managed_uid = $14, overridden_at = $15, \
              token_version = token_version + $16, updated_at = $17 WHERE id = $1 RETURNING *";
}

/// A merge patch: `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// The display name.
    pub display_name: Option<Option<String>>,
    /// Whether the user is enabled.
    pub is_active: Option<bool>,
    /// The roles.
    pub roles: Option<Roles>,
    /// The models that the user may use.
    pub models: Option<Option<ModelPatterns>>,
    /// The limits.
    pub limits: LimitsPatch,
}

impl UserPatch {
    /// Whether the patch contains a field besides `is_active`, the only field that an admin may
    /// override on a managed user.
    fn edits(&self) -> bool {
        self.display_name.is_some()
            || self.roles.is_some()
            || self.models.is_some()
            || self.limits != LimitsPatch::default()
    }

    /// Applies the patch to a locked user, so that neither of two concurrent patches is lost.
    fn over(&self, user: User, now: Timestamp) -> User {
        let managed = user.managed_by.is_some();
        let overridden_at = match self.is_active {
            // The override keeps the user disabled until an admin enables it, even if Git has
            // disabled the user already and enables it later.
            Some(false) if managed => user.overridden_at.or(Some(now)),
            Some(true) => None,
            _ => user.overridden_at,
        };
        User {
            display_name: self.display_name.clone().unwrap_or(user.display_name),
            is_active: self.is_active.unwrap_or(user.is_active),
            roles: self.roles.clone().unwrap_or(user.roles),
            models: self.models.clone().unwrap_or(user.models),
            limits: self.limits.over(user.limits),
            overridden_at,
            ..user
        }
    }
}

impl Users<'_> {
    /// Changes a user. A user that a Kubernetes object owns can only be disabled and enabled:
    /// disabling sets an override, and enabling clears it. `can_manage_admins` says whether the
    /// caller may create and change admins.
    pub async fn update(
        self,
        context: &AuditContext,
        id: UserId,
        patch: UserPatch,
        can_manage_admins: Result<(), AccessDenied>,
    ) -> Result<User, Error> {
        let display_name = patch.display_name.as_ref().and_then(|name| name.as_deref());
        check(display_name, None, &patch.limits.over(Limits::default()))?;
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let before = locked(&mut tx, id).await?;
            if before.roles.has(Role::Admin) || patch.roles.as_ref().is_some_and(|roles| roles.has(Role::Admin)) {
                can_manage_admins.clone()?;
            }
            if let Some(owner) = &before.managed_by
                && patch.edits()
            {
                return Err(Error::Managed { kind: "ApiUser", owner: owner.clone() });
            }
            let after = patch.over(before.clone(), self.accounts.now());
            // Limits of an earlier release may contradict each other. They may stay.
            if after.limits != before.limits {
                check(None, None, &after.limits)?;
            }
            let Some((user, event)) = replace(&mut tx, &before, after, self.accounts.now()).await? else {
                tx.end_unchanged().await?;
                return Ok(before);
            };
            tx.commit(event).await?;
            Ok(user)
        })
        .await
    }
}

/// Writes a changed user. Returns the new row and the event; `None` if nothing differs.
pub(crate) async fn replace(
    tx: &mut Tx,
    before: &User,
    after: User,
    now: Timestamp,
) -> Result<Option<(User, Event)>, Error> {
    let Some(event) = difference(before, &after) else { return Ok(None) };
    last_admin::check_last_admin(tx, before, Some(&after)).await?;
    Ok(Some((put(tx, before, &after, now).await?, event)))
}

/// Writes a locked user. Ends every session if the roles change or the user is disabled.
pub(crate) async fn put(tx: &mut Tx, before: &User, after: &User, now: Timestamp) -> Result<User, Error> {
    let ends_sessions = before.roles != after.roles || (before.is_active && !after.is_active);
    let managed = after.managed_by.as_ref();
    Ok(with_conn!(tx.conn(), |c| bind_limits!(
        sqlx::query_as(UPDATE)
            .bind(after.id)
            .bind(&after.display_name)
            .bind(after.is_active)
            .bind(&after.roles)
            .bind(&after.models),
        after.limits
    )
    .bind(managed.map(|m| &m.cluster))
    .bind(managed.map(|m| &m.namespace))
    .bind(managed.map(|m| &m.name))
    .bind(managed.map(|m| &m.uid))
    .bind(after.overridden_at)
    .bind(i64::from(ends_sessions))
    .bind(now)
    .fetch_one(c)
    .await?))
}

/// The fields that differ.
pub(crate) fn change(before: &User, after: &User) -> Change {
    let mut change = Change::default();
    change.field("display_name", before.display_name.as_ref(), after.display_name.as_ref());
    change.field("is_active", Some(&before.is_active), Some(&after.is_active));
    change.field("roles", Some(&before.roles), Some(&after.roles));
    change.field("models", before.models.as_ref(), after.models.as_ref());
    change.field("limits", Some(&before.limits), Some(&after.limits));
    change.field("managed_by", before.managed_by.as_ref(), after.managed_by.as_ref());
    change.field("overridden_at", before.overridden_at.as_ref(), after.overridden_at.as_ref());
    change
}

/// The event of a change; `None` if nothing differs. Its type is that of the most important change.
fn difference(before: &User, after: &User) -> Option<Event> {
    let change = change(before, after);
    if change.is_empty() {
        return None;
    }
    let event_type = match (before.is_active, after.is_active) {
        (true, false) => EventType::UserDisabled,
        (false, true) => EventType::UserEnabled,
        _ if before.roles != after.roles => EventType::RolesChanged,
        _ => match (before.overridden_at, after.overridden_at) {
            (None, Some(_)) => EventType::OverrideSet,
            (Some(_), None) => EventType::OverrideCleared,
            _ => EventType::UserUpdated,
        },
    };
    Some(Event::new(event_type).user(after.id).target(after.email.as_str()).change(change))
}
