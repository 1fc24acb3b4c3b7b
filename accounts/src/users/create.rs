//! Creating a user.

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    retry_lost_race, statements, with_conn,
};

use super::{
    Users,
    user::{User, by_email, by_external_id},
};
use crate::{
    error::Error,
    types::{Email, Limits, ManagedBy, ModelPatterns, Roles, bind_limits, display_text},
};

/// The longest display name or external id, in characters.
const MAX_TEXT_LENGTH: usize = 200;

statements! {
    INSERT = "INSERT INTO users (email, display_name, external_id, is_active, roles, models, requests_per_minute, \
              tokens_per_minute, tokens_per_day, tokens_per_month, max_concurrent, managed_cluster, managed_namespace, \
              managed_name, managed_uid, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16) RETURNING *";
}

/// A user to create.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The address.
    pub email: Email,
    /// The display name.
    pub display_name: Option<String>,
    /// The identity in another system. It makes creation idempotent.
    pub external_id: Option<String>,
    /// Whether the user is enabled.
    pub is_active: bool,
    /// The roles.
    pub roles: Roles,
    /// The models that the user may use; `None` means all.
    pub models: Option<ModelPatterns>,
    /// The limits.
    pub limits: Limits,
    /// The Kubernetes object that owns the user.
    pub managed_by: Option<ManagedBy>,
}

impl NewUser {
    /// An enabled user with no roles, which may use all models.
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

/// The result of a creation.
#[derive(Clone, Debug)]
pub enum Created {
    /// A new user.
    New(User),
    /// A user with this `external_id` existed: nothing changed.
    Existing(User),
}

impl Users<'_> {
    /// Creates a user. If a user with this `external_id` and address exists, returns it.
    pub async fn create(self, context: &AuditContext, new: NewUser) -> Result<Created, Error> {
        check(new.display_name.as_deref(), new.external_id.as_deref(), &new.limits)?;
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            if let Some(external_id) = &new.external_id
                && let Some(user) = by_external_id(tx.conn(), external_id).await?
            {
                if user.email != new.email {
                    return Err(Error::ExternalIdTaken(user.id));
                }
                tx.end_unchanged().await?;
                return Ok(Created::Existing(user));
            }
            match by_email(tx.conn(), &new.email).await? {
                None => {}
                // Created by another process between the two reads.
                Some(same) if new.external_id.is_some() && same.external_id == new.external_id => {
                    tx.end_unchanged().await?;
                    return Ok(Created::Existing(same));
                }
                Some(other) => return Err(Error::EmailTaken(other.id)),
            }
            let user = insert(&mut tx, &new, self.accounts.now()).await?;
            tx.commit(created_event(&user)).await?;
            Ok(Created::New(user))
        })
        .await
    }
}

/// Inserts a user.
pub(crate) async fn insert(tx: &mut Tx, new: &NewUser, now: Timestamp) -> Result<User, Error> {
    let managed = new.managed_by.as_ref();
    Ok(with_conn!(tx.conn(), |c| bind_limits!(
        sqlx::query_as(INSERT)
            .bind(&new.email)
            .bind(&new.display_name)
            .bind(&new.external_id)
            .bind(new.is_active)
            .bind(&new.roles)
            .bind(&new.models),
        new.limits
    )
    .bind(managed.map(|m| &m.cluster))
    .bind(managed.map(|m| &m.namespace))
    .bind(managed.map(|m| &m.name))
    .bind(managed.map(|m| &m.uid))
    .bind(now)
    .fetch_one(c)
    .await?))
}

/// The event of a creation.
pub(crate) fn created_event(user: &User) -> Event {
    Event::new(EventType::UserCreated).user(user.id).target(user.email.as_str()).change(initial_fields(user))
}

/// The fields of a new user.
pub(crate) fn initial_fields(user: &User) -> Change {
    let mut change = Change::default();
    change.field("email", None, Some(&user.email));
    change.field("display_name", None, user.display_name.as_ref());
    change.field("external_id", None, user.external_id.as_ref());
    change.field("is_active", None, Some(&user.is_active));
    change.field("roles", None, Some(&user.roles));
    change.field("models", None, user.models.as_ref());
    change.field("limits", Some(&Limits::default()), Some(&user.limits));
    change.field("managed_by", None, user.managed_by.as_ref());
    change
}

/// Checks the free texts and the limits.
pub(crate) fn check(display_name: Option<&str>, external_id: Option<&str>, limits: &Limits) -> Result<(), Error> {
    let texts = [("/display_name", display_name), ("/external_id", external_id)];
    let mut violations: Vec<_> = texts
        .into_iter()
        .filter_map(|(pointer, text)| display_text::find_violation(pointer, text, MAX_TEXT_LENGTH))
        .collect();
    violations.extend(limits.violations());
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
