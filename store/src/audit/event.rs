//! The types and fields of audit events.

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::ids::{CredentialId, UserId};

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// The type of an audit event. The list is closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType { $($(#[$doc])* $name,)+ }

        impl EventType {
            /// All types.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stored and sent form.
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
    /// A sign-in failed.
    LoginFailure = "login_failure",
    /// A sign-in was rejected unchecked, because too many failed before it.
    LoginRateLimited = "login_rate_limited",
    /// A session got a new refresh token.
    SessionRefreshed = "session_refreshed",
    /// A used refresh token was presented again, so its session was ended.
    SessionReuseDetected = "session_reuse_detected",
    /// The owner of a session ended it.
    Logout = "logout",
    /// A user was created.
    UserCreated = "user_created",
    /// A field of a user changed for which there is no other type.
    UserUpdated = "user_updated",
    /// A user was deleted.
    UserDeleted = "user_deleted",
    /// A password was set.
    PasswordSet = "password_set",
    /// The roles of a user changed.
    RolesChanged = "roles_changed",
    /// A user was disabled.
    UserDisabled = "user_disabled",
    /// A user was enabled again.
    UserEnabled = "user_enabled",
    /// A credential was created, without a secret yet.
    ApiKeyCreated = "api_key_created",
    /// A secret was staged until it is in its Kubernetes Secret.
    ApiKeyStaged = "api_key_staged",
    /// The first secret of a credential became active.
    ApiKeyIssued = "api_key_issued",
    /// A new secret replaced the active one.
    ApiKeyRotated = "api_key_rotated",
    /// An admin ended the grace of the earlier secrets of a key.
    ApiKeyGraceEnded = "api_key_grace_ended",
    /// The label, scopes, models, limits or expiry of a key changed.
    ApiKeyUpdated = "api_key_updated",
    /// A staged secret was discarded in favour of another secret.
    ApiKeyDiscarded = "api_key_discarded",
    /// A credential was revoked, with all of its secrets.
    ApiKeyRevoked = "api_key_revoked",
    /// A credential expired.
    ApiKeyExpired = "api_key_expired",
    /// An authenticated principal lacked the permission for a request.
    AccessDenied = "access_denied",
    /// A pull of a model was requested.
    ModelPullStarted = "model_pull_started",
    /// A pull was cancelled.
    ModelPullCancelled = "model_pull_cancelled",
    /// Ollama pulled a model at the request of Paddock.
    ModelPulled = "model_pulled",
    /// An object adopted a model that Ollama already had.
    ModelAdopted = "model_adopted",
    /// A model was deleted through the API, or an object released its model; Ollama deleted that if
    /// the object requested it.
    ModelDeleted = "model_deleted",
    /// Ollama failed to delete a model after `model_deleted` was recorded.
    ModelDeletionFailed = "model_deletion_failed",
    /// The bootstrap admin was created or restored, or its password was reset.
    AdminBootstrapped = "admin_bootstrapped",
    /// An admin overrode the spec of the owning object.
    OverrideSet = "override_set",
    /// An admin cleared an override, so the spec of the owning object applies again.
    OverrideCleared = "override_cleared",
    /// Retention removed the oldest rows of this log.
    AuditTrimmed = "audit_trimmed",
}

impl EventType {
    /// Whether the event may change the rights of a user, or of a key or session of the user.
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
                | Self::ModelPullStarted
                | Self::ModelPullCancelled
                | Self::ModelPulled
                | Self::ModelAdopted
                | Self::ModelDeleted
                | Self::ModelDeletionFailed
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

/// An event to record. The store adds the actor and the time.
#[derive(Clone, Debug)]
pub struct Event {
    /// The type.
    pub event_type: EventType,
    /// The user that the event is about.
    pub user_id: Option<UserId>,
    /// The credential that the event is about.
    pub credential_id: Option<CredentialId>,
    /// Another subject, such as a model or an e-mail address.
    pub target: Option<String>,
    /// One line of text for readers of the log.
    pub detail: Option<String>,
    /// The fields that changed.
    pub change: Change,
    /// Another user whose rights changed. The row does not contain it.
    also_about: Option<UserId>,
}

impl Event {
    /// Creates an event of this type, without a subject.
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

    /// Returns the users whose rights may have changed.
    pub(crate) fn rights_changed(&self) -> Vec<UserId> {
        if !self.event_type.changes_rights() {
            return self.also_about.into_iter().collect();
        }
        self.user_id.into_iter().chain(self.also_about).collect()
    }
}

/// The changed fields, before and after. It never contains a secret.
#[derive(Clone, Debug, Default)]
pub struct Change {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Change {
    /// Adds a field if its value differs.
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

    /// Canonical JSON, with sorted keys and without spaces. `None` if no field changed.
    pub(super) fn text(&self) -> Option<String> {
        fn sorted(side: &Map<String, Value>) -> String {
            let fields: std::collections::BTreeMap<_, _> = side.iter().collect();
            serde_json::to_string(&fields).unwrap_or_default()
        }
        (!self.is_empty()).then(|| format!(r#"{{"after":{},"before":{}}}"#, sorted(&self.after), sorted(&self.before)))
    }
}
