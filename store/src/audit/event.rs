//! Audit events: what may be recorded.

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::ids::{CredentialId, UserId};

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

/// An event to be recorded. The store adds the actor and the time.
#[derive(Clone, Debug)]
pub struct Event {
    /// The type.
    pub event_type: EventType,
    /// The user that the event is about.
    pub user_id: Option<UserId>,
    /// The credential that the event is about.
    pub credential_id: Option<CredentialId>,
    /// Another subject: a model, an e-mail address.
    pub target: Option<String>,
    /// One line for people.
    pub detail: Option<String>,
    /// The fields that changed.
    pub change: Change,
    /// Another user whose rights changed; not recorded.
    also_about: Option<UserId>,
}

impl Event {
    /// An event of this type, about nothing yet.
    #[must_use]
    pub fn new(event_type: EventType) -> Self {
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

    /// Sets the user that the event is about.
    #[must_use]
    pub fn user(self, id: UserId) -> Self {
        Self { user_id: Some(id), ..self }
    }

    /// Sets the credential that the event is about.
    #[must_use]
    pub fn credential(self, id: CredentialId) -> Self {
        Self { credential_id: Some(id), ..self }
    }

    /// Sets the target.
    #[must_use]
    pub fn target(self, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..self }
    }

    /// Sets the detail.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Sets the changed fields.
    #[must_use]
    pub fn change(self, change: Change) -> Self {
        Self { change, ..self }
    }

    /// Sets another user whose rights changed too.
    #[must_use]
    pub fn also_about(self, id: UserId) -> Self {
        Self { also_about: Some(id), ..self }
    }

    /// The users whose rights may have changed.
    pub(crate) fn rights_changed(&self) -> Vec<UserId> {
        if !self.event_type.changes_rights() {
            return self.also_about.into_iter().collect();
        }
        self.user_id.into_iter().chain(self.also_about).collect()
    }
}

/// The changed fields, before and after. Never holds a secret.
#[derive(Clone, Debug, Default)]
pub struct Change {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Change {
    /// Adds a field, if its value differs.
    pub fn field<T: Serialize + PartialEq>(&mut self, name: &str, before: Option<&T>, after: Option<&T>) {
        if before == after {
            return;
        }
        for (side, value) in [(&mut self.before, before), (&mut self.after, after)] {
            if let Some(value) = value {
                side.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
            }
        }
    }

    /// Whether no field changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Canonical JSON: keys sorted, no spaces. `None` when nothing changed.
    pub(super) fn text(&self) -> Option<String> {
        fn sorted(side: &Map<String, Value>) -> String {
            let fields: std::collections::BTreeMap<_, _> = side.iter().collect();
            serde_json::to_string(&fields).unwrap_or_default()
        }
        (!self.is_empty()).then(|| format!(r#"{{"after":{},"before":{}}}"#, sorted(&self.after), sorted(&self.before)))
    }
}
