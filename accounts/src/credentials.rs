//! API keys: the credential that lasts, and the rules of its fields. Its secrets are in [`crate::secrets`].

use std::{str::FromStr, time::Duration};

use scoped_futures::ScopedFutureExt;
use serde::Serialize;

use crate::{
    Accounts,
    audit::{Change, Event, EventType},
    clock::Time,
    context::Context,
    error::{Error, Violation},
    ids::row_id,
    limits::Limits,
    managed::{ManagedBy, ManagedColumns},
    patterns::ModelPatterns,
    secrets,
    sets::{Role, Scope, Scopes},
    store::{Conn, Lockable, Outcome, Tx, lock, on, statements},
    token::Token,
    users::{self, User, UserId},
};

row_id! {
    /// The integer identity of a credential; rotation keeps it.
    CredentialId
}

/// How long the old secret lives on after a rotation that does not say: a day.
pub const DEFAULT_GRACE: Duration = Duration::from_hours(24);

statements! {
    BY_ID = "SELECT c.*, s.key_id FROM credentials c \
             LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' WHERE c.id = $1";
    BY_OWNER = "SELECT c.*, s.key_id FROM credentials c \
                LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
                WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
    LIST = "SELECT c.*, s.key_id FROM credentials c \
            LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' ORDER BY c.id DESC";
    LIST_OF_USER = "SELECT c.*, s.key_id FROM credentials c \
                    LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
                    WHERE c.user_id = $1 ORDER BY c.id DESC";
    INSERT = "INSERT INTO credentials (user_id, label, scopes, models, requests_per_minute, tokens_per_minute, \
              tokens_per_day, tokens_per_month, max_concurrent, expires_at, managed_cluster, managed_namespace, \
              managed_name, managed_uid, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15) RETURNING *, NULL AS key_id";
    UPDATE = "UPDATE credentials SET label = $2, scopes = $3, models = $4, requests_per_minute = $5, tokens_per_minute = $6, \
              tokens_per_day = $7, tokens_per_month = $8, max_concurrent = $9, expires_at = $10, managed_cluster = $11, \
              managed_namespace = $12, managed_name = $13, managed_uid = $14, overridden_at = $15, revoked_at = $16, \
              updated_at = $17 WHERE id = $1";
}

/// The life of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretState {
    /// Accepted, and waiting for the Kubernetes Secret that will hold it.
    Staged,
    /// The one that counts; at most one a credential.
    Active,
    /// Accepted until its time of retirement, after a rotation.
    Retiring,
    /// Accepted no more.
    Revoked,
}

impl SecretState {
    /// As it is stored.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for SecretState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Staged, Self::Active, Self::Retiring, Self::Revoked]
            .into_iter()
            .find(|state| state.text() == text)
            .ok_or_else(|| format!("unknown secret state `{text}`"))
    }
}

/// An API key, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// The identity.
    pub id: CredentialId,
    /// Whose it is.
    pub user_id: UserId,
    /// What people call it; not unique.
    pub label: String,
    /// What it may be used for, as far as its owner may.
    pub scopes: Scopes,
    /// The models it is narrowed to, beside its owner's.
    pub models: Option<ModelPatterns>,
    /// Its own limits, beside its owner's.
    pub limits: Limits,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Time>,
    /// The Kubernetes object that owns it.
    pub managed_by: Option<ManagedBy>,
    /// When an admin revoked it against the object that owns it.
    pub overridden_at: Option<Time>,
    /// When it came to be.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// The public part of the active secret.
    pub key_id: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: CredentialId,
    user_id: UserId,
    label: String,
    scopes: Scopes,
    models: Option<ModelPatterns>,
    #[sqlx(flatten)]
    limits: Limits,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    last_used_at: Option<Time>,
    #[sqlx(flatten)]
    managed: ManagedColumns,
    overridden_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
    key_id: Option<String>,
}

impl From<Row> for Credential {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            label: row.label,
            scopes: row.scopes,
            models: row.models,
            limits: row.limits,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            managed_by: row.managed.into(),
            overridden_at: row.overridden_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            key_id: row.key_id,
        }
    }
}

/// An API key to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose it will be.
    pub user_id: UserId,
    /// What people call it; `None`: `api-key`.
    pub label: Option<String>,
    /// What it may be used for; `None`: [`Scopes::default_for_keys`].
    pub scopes: Option<Scopes>,
    /// The models it is narrowed to.
    pub models: Option<ModelPatterns>,
    /// Its own limits.
    pub limits: Limits,
    /// When it ends.
    pub expires_at: Option<Time>,
}

/// A key just made: the only time its text is there.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The credential.
    pub credential: Credential,
    /// The key.
    pub token: Token,
}

impl Accounts {
    /// The credential of that id.
    pub async fn credential(&self, id: CredentialId) -> Result<Option<Credential>, Error> {
        by_id(self.reader().await?.conn(), id).await
    }

    /// Credentials, newest first, revoked ones too; of one user or of all.
    pub async fn credentials(&self, user_id: Option<UserId>) -> Result<Vec<Credential>, Error> {
        let mut reader = self.reader().await?;
        let rows: Vec<Row> = match user_id {
            Some(id) => on!(reader.conn(), |c| sqlx::query_as(LIST_OF_USER).bind(id).fetch_all(c).await?),
            None => on!(reader.conn(), |c| sqlx::query_as(LIST).fetch_all(c).await?),
        };
        Ok(rows.into_iter().map(Credential::from).collect())
    }

    /// Issues a key: credential and active secret in one transaction.
    pub async fn issue_key(&self, context: &Context, new: NewKey) -> Result<Issued, Error> {
        let label = new.label.clone().unwrap_or_else(|| "api-key".to_owned());
        check(&label, &new.limits, new.expires_at, self.now())?;
        let token = Token::generate();
        let hash = self.hasher().hash_key(token.plaintext().clone()).await?;
        let credential = self
            .write(context, |tx| {
                let new = &new;
                let label = &label;
                let token = &token;
                let hash = &hash;
                async move {
                    let user = users::locked(tx, new.user_id).await?;
                    if let Some(scopes) = &new.scopes {
                        within_role(&user, scopes)?;
                    }
                    let draft = Draft {
                        user_id: user.id,
                        label: label.clone(),
                        scopes: new.scopes.clone().unwrap_or_else(Scopes::default_for_keys),
                        models: new.models.clone(),
                        limits: new.limits,
                        expires_at: new.expires_at,
                        managed_by: None,
                    };
                    let mut credential = insert(tx.conn(), &draft, self.now()).await?;
                    secrets::insert(
                        tx,
                        credential.id,
                        token,
                        hash,
                        SecretState::Active,
                        credential.expires_at,
                        self.now(),
                    )
                    .await?;
                    credential.key_id = Some(token.key_id().to_owned());
                    let event = issued_event(EventType::ApiKeyIssued, &credential);
                    Ok(Outcome::changed(credential, event))
                }
                .scope_boxed()
            })
            .await?;
        Ok(Issued { credential, token })
    }

    /// Gives a key a new secret; the old one lives on for `grace`. Who may give only some scopes, `within`, may not rotate
    /// a key that has others: it would be told the new secret.
    pub async fn rotate_key(
        &self,
        context: &Context,
        id: CredentialId,
        grace: Duration,
        within: Option<&Scopes>,
    ) -> Result<Issued, Error> {
        let token = Token::generate();
        let hash = self.hasher().hash_key(token.plaintext().clone()).await?;
        let credential = self
            .write(context, |tx| {
                let token = &token;
                let hash = &hash;
                async move {
                    let mut credential = locked(tx, id).await?;
                    if let Some(owner) = credential.managed_by {
                        return Err(Error::Managed { kind: "ApiKey", owner });
                    }
                    if let Some(own) = within {
                        let beyond = credential.scopes.without(own);
                        if !beyond.is_empty() {
                            return Err(Error::BeyondScopes(beyond));
                        }
                    }
                    if credential.revoked_at.is_some() {
                        return Err(Error::Revoked(id));
                    }
                    let now = self.now();
                    if credential.expires_at.is_some_and(|end| end <= now) {
                        return Err(Error::Expired(id));
                    }
                    secrets::retire_active(tx, id, now + grace).await?;
                    secrets::insert(tx, id, token, hash, SecretState::Active, credential.expires_at, now).await?;
                    let mut change = Change::default();
                    change.field("key_id", credential.key_id.as_deref().as_ref(), Some(&token.key_id()));
                    credential.key_id = Some(token.key_id().to_owned());
                    let event =
                        Event::new(EventType::ApiKeyRotated).user(credential.user_id).credential(id).change(change);
                    Ok(Outcome::changed(credential, event))
                }
                .scope_boxed()
            })
            .await?;
        Ok(Issued { credential, token })
    }

    /// Ends a key, every secret of it, for good. Already revoked: nothing changes. On a key that Kubernetes owns it is
    /// kept as an override.
    pub async fn revoke_key(&self, context: &Context, id: CredentialId) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                let credential = locked(tx, id).await?;
                if credential.revoked_at.is_some() {
                    return Ok(Outcome::Unchanged(()));
                }
                let overriding = credential.managed_by.is_some();
                let event = revoke(tx, credential, overriding, self.now()).await?;
                Ok(Outcome::changed((), event))
            }
            .scope_boxed()
        })
        .await
    }
}

/// Ends the credential and its secrets.
pub(crate) async fn revoke(tx: &mut Tx, credential: Credential, overriding: bool, now: Time) -> Result<Event, Error> {
    let mut after = credential.clone();
    after.revoked_at = Some(now);
    if overriding {
        after.overridden_at = Some(now);
    }
    update(tx.conn(), &after, now).await?;
    secrets::revoke_all(tx, credential.id).await?;
    let mut change = Change::default();
    change.field("revoked_at", None, Some(&now));
    change.field("overridden_at", credential.overridden_at.as_ref(), after.overridden_at.as_ref());
    Ok(Event::new(EventType::ApiKeyRevoked).user(credential.user_id).credential(credential.id).change(change))
}

/// The fields of a credential about to be stored.
pub(crate) struct Draft {
    pub(crate) user_id: UserId,
    pub(crate) label: String,
    pub(crate) scopes: Scopes,
    pub(crate) models: Option<ModelPatterns>,
    pub(crate) limits: Limits,
    pub(crate) expires_at: Option<Time>,
    pub(crate) managed_by: Option<ManagedBy>,
}

/// The event that says what a key was issued with.
pub(crate) fn issued_event(event_type: EventType, credential: &Credential) -> Event {
    let mut change = Change::default();
    change.field("label", None, Some(&credential.label));
    change.field("key_id", None, credential.key_id.as_ref());
    change.field("scopes", None, Some(&credential.scopes));
    change.field("models", None, credential.models.as_ref());
    change.field("limits", Some(&Limits::default()), Some(&credential.limits));
    change.field("expires_at", None, credential.expires_at.as_ref());
    change.field("managed_by", None, credential.managed_by.as_ref());
    Event::new(event_type).user(credential.user_id).credential(credential.id).change(change)
}

/// The event of an edit; `None` when nothing differs.
pub(crate) fn difference(before: &Credential, after: &Credential) -> Option<Event> {
    let mut change = Change::default();
    change.field("label", Some(&before.label), Some(&after.label));
    change.field("scopes", Some(&before.scopes), Some(&after.scopes));
    change.field("models", before.models.as_ref(), after.models.as_ref());
    change.field("limits", Some(&before.limits), Some(&after.limits));
    change.field("expires_at", before.expires_at.as_ref(), after.expires_at.as_ref());
    change.field("managed_by", before.managed_by.as_ref(), after.managed_by.as_ref());
    (!change.is_empty())
        .then(|| Event::new(EventType::ApiKeyUpdated).user(after.user_id).credential(after.id).change(change))
}

/// The scopes that a role gives its sessions, and that a key of such a user can make use of.
#[must_use]
pub(crate) fn granted_by(role: Role, scope: Scope) -> bool {
    match role {
        Role::Admin => true,
        Role::User => matches!(
            scope,
            Scope::Chat
                | Scope::Generate
                | Scope::Embed
                | Scope::ModelsRead
                | Scope::KeysRead
                | Scope::UsersRead
                | Scope::UsageRead
        ),
    }
}

/// A scope that was asked for by name must lie within the owner's roles. The default four are never refused.
pub(crate) fn within_role(user: &User, scopes: &Scopes) -> Result<(), Error> {
    let default = Scopes::default_for_keys();
    let beyond: Vec<String> = scopes
        .iter()
        .filter(|scope| !default.has(*scope) && !user.roles.iter().any(|role| granted_by(role, *scope)))
        .map(|scope| [scope].into_iter().collect::<Scopes>().to_string())
        .collect();
    if beyond.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "/scopes",
        format!("{} go beyond the roles of user {} ({:?})", beyond.join(", "), user.id, user.roles),
    ))
}

/// The rules of a credential's fields.
pub(crate) fn check(label: &str, limits: &Limits, expires_at: Option<Time>, now: Time) -> Result<(), Error> {
    let mut violations = Vec::new();
    if label.is_empty() || label.chars().count() > 100 || label.chars().any(char::is_control) {
        violations.push(Violation::new("/label", "must be 1 to 100 characters without control characters"));
    }
    if let Some(name) = limits.negative() {
        violations.push(Violation::new(format!("/limits/{name}"), "must be 0 or more; leave it out for no limit"));
    }
    if expires_at.is_some_and(|at| at <= now) {
        violations.push(Violation::new("/expires_at", format!("must lie in the future; it is {now}")));
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

pub(crate) async fn locked(tx: &mut Tx, id: CredentialId) -> Result<Credential, Error> {
    lock(tx, Lockable::Credentials, id.0).await?;
    by_id(tx.conn(), id).await?.ok_or(Error::NoCredential(id))
}

pub(crate) async fn by_id(conn: Conn<'_>, id: CredentialId) -> Result<Option<Credential>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?);
    Ok(row.map(Credential::from))
}

pub(crate) async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<Credential>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?);
    Ok(row.map(Credential::from))
}

pub(crate) async fn insert(conn: Conn<'_>, draft: &Draft, now: Time) -> Result<Credential, Error> {
    let managed = draft.managed_by.as_ref();
    let row: Row = on!(conn, |c| sqlx::query_as(INSERT)
        .bind(draft.user_id)
        .bind(&draft.label)
        .bind(&draft.scopes)
        .bind(&draft.models)
        .bind(draft.limits.requests_per_minute)
        .bind(draft.limits.tokens_per_minute)
        .bind(draft.limits.tokens_per_day)
        .bind(draft.limits.tokens_per_month)
        .bind(draft.limits.max_concurrent)
        .bind(draft.expires_at)
        .bind(managed.map(|m| &m.cluster))
        .bind(managed.map(|m| &m.namespace))
        .bind(managed.map(|m| &m.name))
        .bind(managed.map(|m| &m.uid))
        .bind(now)
        .fetch_one(c)
        .await?);
    Ok(row.into())
}

pub(crate) async fn update(conn: Conn<'_>, credential: &Credential, now: Time) -> Result<(), Error> {
    let managed = credential.managed_by.as_ref();
    on!(conn, |c| sqlx::query(UPDATE)
        .bind(credential.id)
        .bind(&credential.label)
        .bind(&credential.scopes)
        .bind(&credential.models)
        .bind(credential.limits.requests_per_minute)
        .bind(credential.limits.tokens_per_minute)
        .bind(credential.limits.tokens_per_day)
        .bind(credential.limits.tokens_per_month)
        .bind(credential.limits.max_concurrent)
        .bind(credential.expires_at)
        .bind(managed.map(|m| &m.cluster))
        .bind(managed.map(|m| &m.namespace))
        .bind(managed.map(|m| &m.name))
        .bind(managed.map(|m| &m.uid))
        .bind(credential.overridden_at)
        .bind(credential.revoked_at)
        .bind(now)
        .execute(c)
        .await
        .map(|_| ()))?;
    Ok(())
}
