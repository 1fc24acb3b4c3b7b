//! Issuing a key.

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    retry_lost_race, statements, with_conn,
};

use super::{
    Credentials,
    credential::Credential,
    secrets::{self, SecretState},
};
use crate::{
    access::delegation::{Constraints, DelegationLimits},
    error::Error,
    types::{ApiKeyToken, Limits, ManagedBy, ModelPatterns, Priority, Scopes, Violation, bind_limits, display_text},
    users::user::{User, locked},
};

/// The longest label, in characters.
const MAX_LABEL_LENGTH: usize = 100;

statements! {
    INSERT = "INSERT INTO credentials (user_id, label, scopes, models, requests_per_minute, tokens_per_minute, \
              tokens_per_day, tokens_per_month, max_concurrent, priority, expires_at, managed_cluster, managed_namespace, \
              managed_name, managed_uid, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16) RETURNING *, NULL AS key_id";
}

/// An API key to issue.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The owner.
    pub user_id: UserId,
    /// The label; `None` means `api-key`.
    pub label: Option<String>,
    /// The scopes; `None` means [`Scopes::default_for_keys`].
    pub scopes: Option<Scopes>,
    /// The models that the key may use; `None` means all models that the owner may use.
    pub models: Option<ModelPatterns>,
    /// The limits of the key. The limits of the owner apply too.
    pub limits: Limits,
    /// The band of its requests in the queue.
    pub priority: Priority,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// Checks that a caller within these limits may issue this key. [`Error::ExceedsGrant`] names
    /// every field that exceeds them. An absent field means everything.
    pub fn check_within(&self, limits: &DelegationLimits<'_>) -> Result<(), Error> {
        let scopes = self.scopes.clone().unwrap_or_else(Scopes::default_for_keys);
        let asked = Constraints { models: self.models.as_ref(), limits: &self.limits, priority: self.priority };
        limits.check(self.user_id, &scopes, asked, self.expires_at)
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("api-key")
    }
}

/// A key that was just issued. Its text is available only here.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The credential.
    pub credential: Credential,
    /// Its owner.
    pub owner: User,
    /// The key.
    pub token: ApiKeyToken,
}

impl Credentials<'_> {
    /// Issues a key: the credential and its active secret in one transaction. Fails with
    /// [`Error::Disabled`] for a disabled user, because the key would be rejected.
    pub async fn issue(self, context: &AuditContext, new: NewKey) -> Result<Issued, Error> {
        check(new.label(), &new.limits, new.expires_at, self.accounts.now())?;
        let token = ApiKeyToken::generate();
        let hash = self.accounts.hasher().hash_key(token.plaintext().clone()).await?;
        let (credential, owner) = retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let user = locked(&mut tx, new.user_id).await?;
            let credential = issue_in(&mut tx, &user, &new, &token, &hash, self.accounts.now()).await?;
            tx.commit(issued_event(EventType::ApiKeyIssued, &credential)).await?;
            Ok::<_, Error>((credential, user))
        })
        .await?;
        Ok(Issued { credential, owner, token })
    }
}

/// Inserts the credential and the active secret of a locked user.
pub(crate) async fn issue_in(
    tx: &mut Tx,
    user: &User,
    new: &NewKey,
    token: &ApiKeyToken,
    hash: &str,
    now: Timestamp,
) -> Result<Credential, Error> {
    if !user.is_active {
        return Err(Error::Disabled(user.id));
    }
    if let Some(scopes) = &new.scopes {
        within_role(user, scopes)?;
    }
    let draft = Draft {
        user_id: user.id,
        label: new.label().to_owned(),
        scopes: new.scopes.clone().unwrap_or_else(Scopes::default_for_keys),
        models: new.models.clone(),
        limits: new.limits,
        priority: new.priority,
        expires_at: new.expires_at,
        managed_by: None,
    };
    let mut credential = insert(tx, &draft, now).await?;
    secrets::insert(tx, credential.id, token, hash, SecretState::Active, credential.expires_at, now).await?;
    credential.key_id = Some(token.key_id().to_owned());
    Ok(credential)
}

/// The fields of a credential to insert.
pub(crate) struct Draft {
    pub(crate) user_id: UserId,
    pub(crate) label: String,
    pub(crate) scopes: Scopes,
    pub(crate) models: Option<ModelPatterns>,
    pub(crate) limits: Limits,
    pub(crate) priority: Priority,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) managed_by: Option<ManagedBy>,
}

/// Inserts a credential without a secret.
pub(crate) async fn insert(tx: &mut Tx, draft: &Draft, now: Timestamp) -> Result<Credential, Error> {
    let managed = draft.managed_by.as_ref();
    Ok(with_conn!(tx.conn(), |c| bind_limits!(
        sqlx::query_as(INSERT).bind(draft.user_id).bind(&draft.label).bind(&draft.scopes).bind(&draft.models),
        draft.limits
    )
    .bind(draft.priority)
    .bind(draft.expires_at)
    .bind(managed.map(|m| &m.cluster))
    .bind(managed.map(|m| &m.namespace))
    .bind(managed.map(|m| &m.name))
    .bind(managed.map(|m| &m.uid))
    .bind(now)
    .fetch_one(c)
    .await?))
}

/// The event of a new key, with its fields.
pub(crate) fn issued_event(event_type: EventType, credential: &Credential) -> Event {
    let mut change = Change::default();
    change.field("label", None, Some(&credential.label));
    change.field("key_id", None, credential.key_id.as_ref());
    change.field("scopes", None, Some(&credential.scopes));
    change.field("models", None, credential.models.as_ref());
    change.field("limits", Some(&Limits::default()), Some(&credential.limits));
    change.field("priority", Some(&Priority::default()), Some(&credential.priority));
    change.field("expires_at", None, credential.expires_at.as_ref());
    change.field("managed_by", None, credential.managed_by.as_ref());
    Event::new(event_type).user(credential.user_id).credential(credential.id).change(change)
}

/// Checks that the owner's roles grant the requested scopes. The four default scopes are always
/// allowed.
pub(crate) fn within_role(user: &User, scopes: &Scopes) -> Result<(), Error> {
    let default = Scopes::default_for_keys();
    let beyond: Vec<String> = scopes
        .iter()
        .filter(|scope| !default.has(*scope) && !user.roles.iter().any(|role| role.grants(*scope)))
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

/// Checks the fields of a credential.
pub(crate) fn check(label: &str, limits: &Limits, expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), Error> {
    let mut violations: Vec<_> =
        display_text::find_violation("/label", Some(label), MAX_LABEL_LENGTH).into_iter().collect();
    violations.extend(limits.violations());
    if let Some(at) = expires_at.filter(|at| *at <= now) {
        // Without the present time: the text goes into the status of an object, which must not
        // change with every reconcile.
        violations.push(Violation::new("/expires_at", format!("must lie in the future, and {at} does not")));
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
