//! The audit log: what may be recorded, and how it is read.

mod chain;
mod folding;
mod head;
mod key;
mod list;
mod retention;
mod upkeep;
mod verify;

use std::{fmt, net::IpAddr, str::FromStr};

pub use chain::Chain;
pub(crate) use folding::{Fold, Folding};
pub use head::Head;
pub use list::{AuditExport, AuditFilter};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{Decode, FromRow, Type};
use uuid::Uuid;
pub use verify::{Broken, KnownHead, Verified};

use crate::{clock::Time, credentials::CredentialId, store::Columns, users::UserId};

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What happened. The list is closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType { $($(#[$doc])* $name,)+ }

        impl EventType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it is stored and sent.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

event_types! {
    /// A user signed in with a password.
    LoginSuccess = "login_success",
    /// A sign-in was refused.
    LoginFailure = "login_failure",
    /// A sign-in was not judged, because too many failed before it.
    LoginRateLimited = "login_rate_limited",
    /// A session went on with a new refresh token.
    SessionRefreshed = "session_refreshed",
    /// A refresh token was presented that had been used up: its session ended.
    SessionReuseDetected = "session_reuse_detected",
    /// A session was ended by its owner.
    Logout = "logout",
    /// A user came to be.
    UserCreated = "user_created",
    /// Something of a user changed that has no type of its own.
    UserUpdated = "user_updated",
    /// A user became a tombstone.
    UserDeleted = "user_deleted",
    /// A password was set.
    PasswordSet = "password_set",
    /// The roles of a user changed.
    RolesChanged = "roles_changed",
    /// A user may not act any more.
    UserDisabled = "user_disabled",
    /// A user may act again.
    UserEnabled = "user_enabled",
    /// A credential came to be that has no secret yet.
    ApiKeyCreated = "api_key_created",
    /// A secret was made that waits for its Kubernetes Secret.
    ApiKeyStaged = "api_key_staged",
    /// The first secret of a credential became active.
    ApiKeyIssued = "api_key_issued",
    /// A further secret took over.
    ApiKeyRotated = "api_key_rotated",
    /// Label, scopes, models, limits or expiry of a key changed.
    ApiKeyUpdated = "api_key_updated",
    /// A staged secret was dropped because another one took over.
    ApiKeyDiscarded = "api_key_discarded",
    /// Every secret of a credential ended.
    ApiKeyRevoked = "api_key_revoked",
    /// The time of a credential was over.
    ApiKeyExpired = "api_key_expired",
    /// A known principal asked for what it may not do.
    AccessDenied = "access_denied",
    /// Ollama pulled a model at our word.
    ModelPulled = "model_pulled",
    /// A model that Ollama already had came under an object's care.
    ModelAdopted = "model_adopted",
    /// A model left an object's care, and Ollama where that was asked.
    ModelDeleted = "model_deleted",
    /// The first admin was set up or, where nobody was one, made the admin again; or its password was reset.
    AdminBootstrapped = "admin_bootstrapped",
    /// A setting that outlasts the process changed.
    ConfigChanged = "config_changed",
    /// An admin set something against the object that owns it.
    OverrideSet = "override_set",
    /// An admin gave something back to the object that owns it.
    OverrideCleared = "override_cleared",
    /// The oldest rows of this log were removed, because their time was over.
    AuditTrimmed = "audit_trimmed",
}

impl EventType {
    /// Whether what a user, or a key or session of it, may do can be something else afterwards.
    fn changes_rights(self) -> bool {
        !matches!(
            self,
            Self::LoginSuccess
                | Self::LoginFailure
                | Self::LoginRateLimited
                | Self::SessionRefreshed
                | Self::UserCreated
                | Self::ApiKeyCreated
                | Self::ApiKeyStaged
                | Self::AccessDenied
                | Self::ModelPulled
                | Self::ModelAdopted
                | Self::ModelDeleted
                | Self::ConfigChanged
                | Self::AuditTrimmed
        )
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|t| t.text()).collect::<Vec<_>>().join(", ");
        Self::ALL.iter().copied().find(|t| t.text() == text).ok_or_else(|| format!("must be one of: {}", known()))
    }
}

/// An event about to be recorded; who acted and when is added by the store.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the columns' own names")]
pub(crate) struct Event {
    pub(crate) event_type: EventType,
    pub(crate) user_id: Option<UserId>,
    pub(crate) credential_id: Option<CredentialId>,
    pub(crate) target: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) change: Change,
    /// Another user whose rights the change touched; not recorded.
    also_about: Option<UserId>,
}

impl Event {
    pub(crate) fn new(event_type: EventType) -> Self {
        Self {
            event_type,
            user_id: None,
            credential_id: None,
            target: None,
            detail: None,
            change: Change::default(),
            also_about: None,
        }
    }

    pub(crate) fn user(self, id: UserId) -> Self {
        Self { user_id: Some(id), ..self }
    }

    pub(crate) fn credential(self, id: CredentialId) -> Self {
        Self { credential_id: Some(id), ..self }
    }

    pub(crate) fn target(self, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..self }
    }

    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(crate) fn change(self, change: Change) -> Self {
        Self { change, ..self }
    }

    /// The change touched the rights of this user too.
    pub(crate) fn also_about(self, id: UserId) -> Self {
        Self { also_about: Some(id), ..self }
    }

    /// Whose rights may be others now.
    pub(crate) fn rights_changed(&self) -> Vec<UserId> {
        if !self.event_type.changes_rights() {
            return self.also_about.into_iter().collect();
        }
        self.user_id.into_iter().chain(self.also_about).collect()
    }
}

/// What changed, field by field. Nothing secret is ever put in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Change {
    /// Notes a field, if it is another after than before.
    pub(crate) fn field<T: Serialize + PartialEq>(&mut self, name: &str, before: Option<&T>, after: Option<&T>) {
        if before == after {
            return;
        }
        for (side, value) in [(&mut self.before, before), (&mut self.after, after)] {
            if let Some(value) = value {
                side.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Canonical JSON: keys sorted, no spaces. `None` when nothing changed.
    fn text(&self) -> Option<String> {
        fn sorted(side: &Map<String, Value>) -> String {
            let fields: std::collections::BTreeMap<_, _> = side.iter().collect();
            serde_json::to_string(&fields).unwrap_or_default()
        }
        (!self.is_empty()).then(|| format!(r#"{{"after":{},"before":{}}}"#, sorted(&self.after), sorted(&self.before)))
    }
}

/// The columns of the log, in the order in which [`AuditRow`] reads them.
macro_rules! columns {
    () => {
        "id, event_id, chain_version, event_type, occurred_at, user_id, credential_id, actor, target, ip, user_agent, \
         request_id, detail, change, prev_hash, hash"
    };
}
use columns;

/// One row of the log, as it is stored. Its texts are its own, or lent by the answer of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow<T = String> {
    /// The place in the chain, from 1.
    pub id: i64,
    /// `UUIDv7`.
    pub event_id: Uuid,
    /// How the hash is made.
    pub chain_version: i64,
    /// One of [`EventType`], or a newer one.
    pub event_type: T,
    /// When.
    pub occurred_at: Time,
    /// The user the event is about.
    pub user_id: Option<i64>,
    /// The credential the event is about.
    pub credential_id: Option<i64>,
    /// Who acted: `user:1`, `key:1`, `operator:<field manager>:<kind>/<namespace>/<name>`, `system:seed`, `anonymous`.
    pub actor: T,
    /// What else it is about: a model, an e-mail address.
    pub target: Option<T>,
    /// The client's address.
    pub ip: Option<T>,
    /// The client's User-Agent.
    pub user_agent: Option<T>,
    /// The request's id.
    pub request_id: Option<T>,
    /// One line for people.
    pub detail: Option<T>,
    /// Canonical JSON `{"after": {..}, "before": {..}}`.
    pub change: Option<T>,
    /// The hash of the row before.
    pub prev_hash: T,
    /// HMAC-SHA-256 over every column above and `prev_hash`, in hexadecimal.
    pub hash: T,
}

impl AuditRow {
    /// A row that outlasts the answer of the database.
    #[must_use]
    pub fn owned(row: &AuditRow<&str>) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            chain_version: row.chain_version,
            event_type: row.event_type.to_owned(),
            occurred_at: row.occurred_at,
            user_id: row.user_id,
            credential_id: row.credential_id,
            actor: row.actor.to_owned(),
            target: row.target.map(str::to_owned),
            ip: row.ip.map(str::to_owned),
            user_agent: row.user_agent.map(str::to_owned),
            request_id: row.request_id.map(str::to_owned),
            detail: row.detail.map(str::to_owned),
            change: row.change.map(str::to_owned),
            prev_hash: row.prev_hash.to_owned(),
            hash: row.hash.to_owned(),
        }
    }
}

impl<'r, R: Columns, T> FromRow<'r, R> for AuditRow<T>
where
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Uuid: Decode<'r, R::Database> + Type<R::Database>,
    Time: Decode<'r, R::Database> + Type<R::Database>,
    T: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.value_at(0)?,
            event_id: row.value_at(1)?,
            chain_version: row.value_at(2)?,
            event_type: row.value_at(3)?,
            occurred_at: row.value_at(4)?,
            user_id: row.value_at(5)?,
            credential_id: row.value_at(6)?,
            actor: row.value_at(7)?,
            target: row.value_at(8)?,
            ip: row.value_at(9)?,
            user_agent: row.value_at(10)?,
            request_id: row.value_at(11)?,
            detail: row.value_at(12)?,
            change: row.value_at(13)?,
            prev_hash: row.value_at(14)?,
            hash: row.value_at(15)?,
        })
    }
}

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [chain::STATEMENTS, head::STATEMENTS, key::STATEMENTS, list::STATEMENTS, retention::STATEMENTS, verify::STATEMENTS]
        .into_iter()
        .flatten()
}

/// An address, as it is stored.
fn ip_text(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}
