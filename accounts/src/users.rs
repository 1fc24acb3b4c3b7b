//! Users.

use scoped_futures::ScopedFutureExt;
use serde::Serialize;

use crate::{
    Accounts,
    audit::{Change, Event, EventType},
    clock::Time,
    context::Context,
    email::Email,
    error::{Error, Violation},
    ids::row_id,
    limits::Limits,
    managed::{ManagedBy, ManagedColumns},
    patterns::ModelPatterns,
    sets::{Role, Roles},
    store::{Conn, Lockable, Outcome, Tx, lock, on, statements},
};

row_id! {
    /// The integer identity of a user; never used again after a deletion.
    UserId
}

statements! {
    BY_ID = "SELECT * FROM users WHERE id = $1 AND deleted_at IS NULL";
    BY_EMAIL = "SELECT * FROM users WHERE email = $1";
    BY_EXTERNAL_ID = "SELECT * FROM users WHERE external_id = $1";
    BY_OWNER = "SELECT * FROM users WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
    LIST = "SELECT * FROM users WHERE deleted_at IS NULL AND (email LIKE $1 ESCAPE '\\' OR lower(display_name) LIKE $1 ESCAPE '\\') \
            ORDER BY id LIMIT $2 OFFSET $3";
    COUNT = "SELECT count(*) FROM users \
             WHERE deleted_at IS NULL AND (email LIKE $1 ESCAPE '\\' OR lower(display_name) LIKE $1 ESCAPE '\\')";
    INSERT = "INSERT INTO users (email, display_name, external_id, is_active, roles, models, requests_per_minute, \
              tokens_per_minute, tokens_per_day, tokens_per_month, max_concurrent, managed_cluster, managed_namespace, \
              managed_name, managed_uid, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16) RETURNING *";
    UPDATE = "UPDATE users SET display_name = $2, is_active = $3, roles = $4, models = $5, requests_per_minute = $6, \
              tokens_per_minute = $7, tokens_per_day = $8, tokens_per_month = $9, max_concurrent = $10, \
              managed_cluster = $11, managed_namespace = $12, managed_name = $13, managed_uid = $14, overridden_at = $15, \
              token_version = token_version + $16, updated_at = $17 WHERE id = $1 RETURNING *";
    BURY = "UPDATE users SET email = NULL, display_name = NULL, external_id = NULL, is_active = FALSE, roles = '', \
            managed_cluster = NULL, managed_namespace = NULL, managed_name = NULL, managed_uid = NULL, \
            overridden_at = NULL, token_version = token_version + 1, updated_at = $2, deleted_at = $2 WHERE id = $1";
    OTHER_ADMINS = "SELECT count(*) FROM users WHERE is_active AND deleted_at IS NULL AND id <> $1 AND ' ' || roles || ' ' LIKE '% admin %'";
    DISOWN = "UPDATE users SET managed_cluster = NULL, managed_namespace = NULL, managed_name = NULL, managed_uid = NULL \
              WHERE id = $1";
    END_SESSIONS = "UPDATE users SET token_version = token_version + 1 WHERE id = $1";
    DELETE_PASSWORD = "DELETE FROM passwords WHERE user_id = $1";
    /// Makes changes that could take the last admin away wait for each other. SQLite has one writer anyhow.
    ONE_AT_A_TIME = "UPDATE audit_head SET position = position";
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The identity.
    pub id: UserId,
    /// The address, canonical.
    pub email: Email,
    /// The name people see.
    pub display_name: Option<String>,
    /// The identity in another system; makes creation idempotent.
    pub external_id: Option<String>,
    /// Whether it may act at all.
    pub is_active: bool,
    /// What it is.
    pub roles: Roles,
    /// The models it is narrowed to; `None` means all.
    pub models: Option<ModelPatterns>,
    /// Its limits.
    pub limits: Limits,
    /// The Kubernetes object that owns it.
    pub managed_by: Option<ManagedBy>,
    /// When an admin set `is_active` against the object that owns the user.
    pub overridden_at: Option<Time>,
    /// When it came to be.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Raised when every session must end.
    #[serde(skip)]
    pub(crate) token_version: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: UserId,
    email: Email,
    display_name: Option<String>,
    external_id: Option<String>,
    is_active: bool,
    roles: Roles,
    models: Option<ModelPatterns>,
    #[sqlx(flatten)]
    limits: Limits,
    #[sqlx(flatten)]
    managed: ManagedColumns,
    overridden_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
    token_version: i64,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            email: row.email,
            display_name: row.display_name,
            external_id: row.external_id,
            is_active: row.is_active,
            roles: row.roles,
            models: row.models,
            limits: row.limits,
            managed_by: row.managed.into(),
            overridden_at: row.overridden_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            token_version: row.token_version,
        }
    }
}

/// A user to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The address.
    pub email: Email,
    /// The name people see.
    pub display_name: Option<String>,
    /// The identity in another system.
    pub external_id: Option<String>,
    /// Whether it may act at once.
    pub is_active: bool,
    /// What it is.
    pub roles: Roles,
    /// The models it is narrowed to.
    pub models: Option<ModelPatterns>,
    /// Its limits.
    pub limits: Limits,
    /// The Kubernetes object that owns it.
    pub managed_by: Option<ManagedBy>,
}

impl NewUser {
    /// An active user with no roles, narrowed to nothing.
    #[must_use]
    pub fn new(email: Email) -> Self {
        Self {
            email,
            display_name: None,
            external_id: None,
            is_active: true,
            roles: Roles::default(),
            models: None,
            limits: Limits::default(),
            managed_by: None,
        }
    }
}

/// A merge patch: `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// The name people see.
    pub display_name: Option<Option<String>>,
    /// Whether it may act at all.
    pub is_active: Option<bool>,
    /// What it is.
    pub roles: Option<Roles>,
    /// The models it is narrowed to.
    pub models: Option<Option<ModelPatterns>>,
    /// Its limits, all of them.
    pub limits: Option<Limits>,
}

impl UserPatch {
    /// Whether it asks for anything besides `is_active`, the one field an admin may override on a managed user.
    fn edits(&self) -> bool {
        self.display_name.is_some() || self.roles.is_some() || self.models.is_some() || self.limits.is_some()
    }
}

/// What creation came to.
#[derive(Clone, Debug)]
pub enum Created {
    /// A new user.
    New(User),
    /// The same `external_id` was there already: nothing changed.
    Existing(User),
}

impl Accounts {
    /// The user of that id, unless deleted.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        by_id(self.reader().await?.conn(), id).await
    }

    /// The user of that address.
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Error> {
        by_email(self.reader().await?.conn(), email).await
    }

    /// Users in order of id, and how many there are in all. `query` is looked for in e-mail and display name.
    pub async fn users(&self, query: Option<&str>, limit: u16, offset: u32) -> Result<(Vec<User>, i64), Error> {
        let like = contains(query.unwrap_or_default());
        let mut reader = self.reader().await?;
        let rows: Vec<Row> = on!(reader.conn(), |c| sqlx::query_as(LIST)
            .bind(&like)
            .bind(i64::from(limit))
            .bind(i64::from(offset))
            .fetch_all(c)
            .await?);
        let count = on!(reader.conn(), |c| sqlx::query_scalar(COUNT).bind(&like).fetch_one(c).await?);
        Ok((rows.into_iter().map(User::from).collect(), count))
    }

    /// Creates a user. An `external_id` that is there already, with the same address, answers with that user.
    pub async fn create_user(&self, context: &Context, new: NewUser) -> Result<Created, Error> {
        check(new.display_name.as_deref(), new.external_id.as_deref(), &new.limits)?;
        self.write(context, |tx| {
            let new = &new;
            async move {
                if let Some(external_id) = &new.external_id
                    && let Some(user) = by_external_id(tx.conn(), external_id).await?
                {
                    if user.email != new.email {
                        return Err(Error::ExternalIdTaken(user.id));
                    }
                    return Ok(Outcome::Unchanged(Created::Existing(user)));
                }
                match by_email(tx.conn(), &new.email).await? {
                    None => {}
                    // Made by another between the two looks.
                    Some(same) if new.external_id.is_some() && same.external_id == new.external_id => {
                        return Ok(Outcome::Unchanged(Created::Existing(same)));
                    }
                    Some(other) => return Err(Error::EmailTaken(other.id)),
                }
                let user = insert(tx.conn(), new, self.now()).await?;
                let event = created_event(&user);
                Ok(Outcome::changed(Created::New(user), event))
            }
            .scope_boxed()
        })
        .await
    }

    /// Changes a user. What Kubernetes owns can only be disabled and enabled, which is kept as an override.
    pub async fn update_user(&self, context: &Context, id: UserId, patch: UserPatch) -> Result<User, Error> {
        let display_name = patch.display_name.as_ref().and_then(|name| name.as_deref());
        check(display_name, None, &patch.limits.unwrap_or_default())?;
        self.write(context, |tx| {
            let patch = &patch;
            async move {
                let before = locked(tx, id).await?;
                if let Some(owner) = &before.managed_by
                    && patch.edits()
                {
                    return Err(Error::Managed { kind: "ApiUser", owner: owner.clone() });
                }
                let mut after = before.clone();
                after.display_name = patch.display_name.clone().unwrap_or(after.display_name);
                after.is_active = patch.is_active.unwrap_or(after.is_active);
                after.roles = patch.roles.clone().unwrap_or(after.roles);
                after.models = patch.models.clone().unwrap_or(after.models);
                after.limits = patch.limits.unwrap_or(after.limits);
                if before.managed_by.is_some() && before.is_active != after.is_active {
                    // Disabling outranks Git until an admin enables again.
                    after.overridden_at = (!after.is_active).then(|| self.now());
                }
                replace(tx, &before, after, self.now()).await
            }
            .scope_boxed()
        })
        .await
    }
}

/// Writes what differs, with the event that weighs most. Ends every session when roles or activity change.
pub(crate) async fn replace(tx: &mut Tx, before: &User, after: User, now: Time) -> Result<Outcome<User>, Error> {
    let Some(event) = difference(before, &after) else {
        return Ok(Outcome::Unchanged(before.clone()));
    };
    let was_admin = before.is_active && before.roles.has(Role::Admin);
    if was_admin && !(after.is_active && after.roles.has(Role::Admin)) {
        keep_an_admin(tx, before.id).await?;
    }
    let ends_sessions = before.roles != after.roles || (before.is_active && !after.is_active);
    let managed = after.managed_by.as_ref();
    let row: Row = on!(tx.conn(), |c| sqlx::query_as(UPDATE)
        .bind(after.id)
        .bind(&after.display_name)
        .bind(after.is_active)
        .bind(&after.roles)
        .bind(&after.models)
        .bind(after.limits.requests_per_minute)
        .bind(after.limits.tokens_per_minute)
        .bind(after.limits.tokens_per_day)
        .bind(after.limits.tokens_per_month)
        .bind(after.limits.max_concurrent)
        .bind(managed.map(|m| &m.cluster))
        .bind(managed.map(|m| &m.namespace))
        .bind(managed.map(|m| &m.name))
        .bind(managed.map(|m| &m.uid))
        .bind(after.overridden_at)
        .bind(i64::from(ends_sessions))
        .bind(now)
        .fetch_one(c)
        .await?);
    Ok(Outcome::changed(row.into(), event))
}

/// The event of a change, by its weightiest part; `None` when nothing differs.
fn difference(before: &User, after: &User) -> Option<Event> {
    let mut change = Change::default();
    change.field("display_name", before.display_name.as_ref(), after.display_name.as_ref());
    change.field("is_active", Some(&before.is_active), Some(&after.is_active));
    change.field("roles", Some(&before.roles), Some(&after.roles));
    change.field("models", before.models.as_ref(), after.models.as_ref());
    change.field("limits", Some(&before.limits), Some(&after.limits));
    change.field("managed_by", before.managed_by.as_ref(), after.managed_by.as_ref());
    change.field("overridden_at", before.overridden_at.as_ref(), after.overridden_at.as_ref());
    if change.is_empty() {
        return None;
    }
    let event_type = match (before.is_active, after.is_active) {
        (true, false) => EventType::UserDisabled,
        (false, true) => EventType::UserEnabled,
        _ if before.roles != after.roles => EventType::RolesChanged,
        _ => EventType::UserUpdated,
    };
    Some(Event::new(event_type).user(after.id).target(after.email.as_str()).change(change))
}

pub(crate) fn created_event(user: &User) -> Event {
    let mut change = Change::default();
    change.field("email", None, Some(&user.email));
    change.field("display_name", None, user.display_name.as_ref());
    change.field("external_id", None, user.external_id.as_ref());
    change.field("is_active", None, Some(&user.is_active));
    change.field("roles", None, Some(&user.roles));
    change.field("models", None, user.models.as_ref());
    change.field("limits", Some(&Limits::default()), Some(&user.limits));
    change.field("managed_by", None, user.managed_by.as_ref());
    Event::new(EventType::UserCreated).user(user.id).target(user.email.as_str()).change(change)
}

/// Makes a tombstone: the address and names go, the identity stays for audit and usage. The keys must have been revoked.
pub(crate) async fn bury(tx: &mut Tx, user: &User, now: Time) -> Result<Event, Error> {
    may_leave(tx, user).await?;
    on!(tx.conn(), |c| sqlx::query(DELETE_PASSWORD).bind(user.id).execute(c).await.map(|_| ()))?;
    on!(tx.conn(), |c| sqlx::query(BURY).bind(user.id).bind(now).execute(c).await.map(|_| ()))?;
    Ok(Event::new(EventType::UserDeleted).user(user.id))
}

/// Whether there is an admin without this user.
pub(crate) async fn may_leave(tx: &mut Tx, user: &User) -> Result<(), Error> {
    if user.is_active && user.roles.has(Role::Admin) {
        keep_an_admin(tx, user.id).await?;
    }
    Ok(())
}

/// The last active admin stays, also when two changes race.
async fn keep_an_admin(tx: &mut Tx, leaving: UserId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(ONE_AT_A_TIME).execute(c).await.map(|_| ()))?;
    let others: i64 = on!(tx.conn(), |c| sqlx::query_scalar(OTHER_ADMINS).bind(leaving).fetch_one(c).await?);
    if others == 0 { Err(Error::LastAdmin) } else { Ok(()) }
}

pub(crate) async fn locked(tx: &mut Tx, id: UserId) -> Result<User, Error> {
    lock(tx, Lockable::Users, id.0).await?;
    by_id(tx.conn(), id).await?.ok_or(Error::NoUser(id))
}

/// Makes room for a new life of the name of the object that left the user behind.
pub(crate) async fn disown(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(DISOWN).bind(id).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends every session of a user at once.
pub(crate) async fn end_sessions(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(END_SESSIONS).bind(id).execute(c).await.map(|_| ()))?;
    Ok(())
}

pub(crate) async fn by_id(conn: Conn<'_>, id: UserId) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?);
    Ok(row.map(User::from))
}

pub(crate) async fn by_email(conn: Conn<'_>, email: &Email) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_EMAIL).bind(email).fetch_optional(c).await?);
    Ok(row.map(User::from))
}

async fn by_external_id(conn: Conn<'_>, external_id: &str) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_EXTERNAL_ID).bind(external_id).fetch_optional(c).await?);
    Ok(row.map(User::from))
}

pub(crate) async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?);
    Ok(row.map(User::from))
}

pub(crate) async fn insert(conn: Conn<'_>, new: &NewUser, now: Time) -> Result<User, Error> {
    let managed = new.managed_by.as_ref();
    let row: Row = on!(conn, |c| sqlx::query_as(INSERT)
        .bind(&new.email)
        .bind(&new.display_name)
        .bind(&new.external_id)
        .bind(new.is_active)
        .bind(&new.roles)
        .bind(&new.models)
        .bind(new.limits.requests_per_minute)
        .bind(new.limits.tokens_per_minute)
        .bind(new.limits.tokens_per_day)
        .bind(new.limits.tokens_per_month)
        .bind(new.limits.max_concurrent)
        .bind(managed.map(|m| &m.cluster))
        .bind(managed.map(|m| &m.namespace))
        .bind(managed.map(|m| &m.name))
        .bind(managed.map(|m| &m.uid))
        .bind(now)
        .fetch_one(c)
        .await?);
    Ok(row.into())
}

/// What a LIKE looks for: the text anywhere, its own wildcards taken as they stand.
fn contains(text: &str) -> String {
    let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// The rules of the free texts and the limits.
fn check(display_name: Option<&str>, external_id: Option<&str>, limits: &Limits) -> Result<(), Error> {
    let mut violations = Vec::new();
    for (pointer, text) in [("/display_name", display_name), ("/external_id", external_id)] {
        if text.is_some_and(|text| text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control))
        {
            violations.push(Violation::new(pointer, "must be 1 to 200 characters without control characters"));
        }
    }
    if let Some(name) = limits.negative() {
        violations.push(Violation::new(format!("/limits/{name}"), "must be 0 or more; leave it out for no limit"));
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
