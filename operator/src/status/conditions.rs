//! Status conditions, as kstatus and `kubectl wait` expect them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use paddock_crds::HasConditions;

use crate::time::K8sTime;

/// The condition types.
pub(crate) mod condition_type {
    /// The spec is applied and the object can be used.
    pub(crate) const READY: &str = "Ready";
    /// The operator is working, or retries by itself. Absent otherwise.
    pub(crate) const RECONCILING: &str = "Reconciling";
    /// A user must change something first. Absent otherwise.
    pub(crate) const STALLED: &str = "Stalled";
    /// A change that an admin made through the API overrides the spec. Absent otherwise.
    pub(crate) const OVERRIDDEN: &str = "Overridden";
    /// An annotation pauses the operator. Absent otherwise.
    pub(crate) const PAUSED: &str = "Paused";
    /// `ApiKey`: the Secret holds the active version.
    pub(crate) const SECRET_SYNCED: &str = "SecretSynced";
    /// `ApiUser`: the user has the password that the object says.
    pub(crate) const PASSWORD_SYNCED: &str = "PasswordSynced";
    /// `ApiKey`: the key in the Secret ends soon, and no rotation comes before. Absent otherwise.
    pub(crate) const EXPIRING: &str = "Expiring";
    /// `OllamaModel`: every backend has the model.
    pub(crate) const PULLED: &str = "Pulled";
}

/// The reason of a condition: the closed list for all three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The spec is applied to the user.
    Applied,
    /// The spec is applied to the user, which is inactive.
    Disabled,
    /// The Secret holds the key.
    Issued,
    /// The model can be used.
    Available,
    /// A field breaks a rule that the schema could not check.
    InvalidSpec,
    /// An object in this namespace may not grant the role.
    RoleNotAllowed,
    /// The e-mail belongs to a user that no object manages.
    EmailTaken,
    /// The e-mail belongs to a user that no object manages, and objects in this namespace may not
    /// take users over.
    AdoptionNotAllowed,
    /// Another object owns the row that this object claims.
    Conflict,
    /// The user is the last user that can administer.
    LastAdmin,
    /// The `ApiUser` does not exist.
    UserNotFound,
    /// The `ApiUser` has not been applied yet.
    UserNotReady,
    /// The `ApiUser` does not allow keys from this namespace.
    NamespaceNotAllowed,
    /// Another owner has a Secret of that name.
    SecretConflict,
    /// The API server refuses the Secret.
    SecretRefused,
    /// The user of the key is disabled.
    UserInactive,
    /// The user of the key has no role that allows any of the key's scopes.
    UserWithoutRole,
    /// A limit of the key or its user is 0, so that the gateway refuses every request.
    LimitIsZero,
    /// The key and its user together allow no model.
    NoModelAllowed,
    /// The database has lost the user or key: it was created anew, or restored from a backup.
    DatabaseReplaced,
    /// The Secret with the password of the user does not exist.
    PasswordSecretNotFound,
    /// The Secret has no password, or one that the rules for passwords refuse.
    PasswordRefused,
    /// The user has the password that the object says.
    PasswordSet,
    /// The key in the Secret ends within 7 days.
    EndsInDays,
    /// The key in the Secret ends within 24 hours.
    EndsInHours,
    /// The key in the Secret ends within an hour.
    EndsInMinutes,
    /// The key was revoked.
    Revoked,
    /// The key has expired.
    Expired,
    /// An admin disabled the user or revoked the key through the API.
    SetByAdmin,
    /// `MODEL_REGISTRIES` does not list the model's registry.
    RegistryNotAllowed,
    /// `MODEL_REGISTRIES` does not allow the model's registry without TLS.
    InsecureNotAllowed,
    /// The model is being pulled.
    Pulling,
    /// A pull failed and is retried.
    PullFailed,
    /// A pull has received no new byte for a while. It is retried.
    PullStalled,
    /// No backend answers.
    BackendUnreachable,
    /// The database does not answer.
    DatabaseUnavailable,
    /// The API server answers a request of the operator with an error, or not at all.
    ApiServerError,
    /// RBAC or an admission policy refuses a request of the operator.
    PermissionDenied,
    /// Another writer changes the same objects again and again.
    WriteConflict,
    /// A reconcile has waited for an answer for too long.
    TimedOut,
    /// The operator failed; its log has the error.
    InternalError,
    /// The object is being deleted, and other objects must go first.
    CleanupPending,
    /// The annotation `paddock.dev/paused` stops the operator.
    Paused,
}

impl Reason {
    /// Returns the text of the condition's `reason` field.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Disabled => "Disabled",
            Self::Issued => "Issued",
            Self::Available => "Available",
            Self::InvalidSpec => "InvalidSpec",
            Self::RoleNotAllowed => "RoleNotAllowed",
            Self::EmailTaken => "EmailTaken",
            Self::AdoptionNotAllowed => "AdoptionNotAllowed",
            Self::Conflict => "Conflict",
            Self::LastAdmin => "LastAdmin",
            Self::UserNotFound => "UserNotFound",
            Self::UserNotReady => "UserNotReady",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::SecretConflict => "SecretConflict",
            Self::SecretRefused => "SecretRefused",
            Self::UserInactive => "UserInactive",
            Self::UserWithoutRole => "UserWithoutRole",
            Self::LimitIsZero => "LimitIsZero",
            Self::NoModelAllowed => "NoModelAllowed",
            Self::DatabaseReplaced => "DatabaseReplaced",
            Self::PasswordSecretNotFound => "PasswordSecretNotFound",
            Self::PasswordRefused => "PasswordRefused",
            Self::PasswordSet => "PasswordSet",
            Self::EndsInDays => "EndsInDays",
            Self::EndsInHours => "EndsInHours",
            Self::EndsInMinutes => "EndsInMinutes",
            Self::Revoked => "Revoked",
            Self::Expired => "Expired",
            Self::SetByAdmin => "SetByAdmin",
            Self::RegistryNotAllowed => "RegistryNotAllowed",
            Self::InsecureNotAllowed => "InsecureNotAllowed",
            Self::Pulling => "Pulling",
            Self::PullFailed => "PullFailed",
            Self::PullStalled => "PullStalled",
            Self::BackendUnreachable => "BackendUnreachable",
            Self::DatabaseUnavailable => "DatabaseUnavailable",
            Self::ApiServerError => "ApiServerError",
            Self::PermissionDenied => "PermissionDenied",
            Self::WriteConflict => "WriteConflict",
            Self::TimedOut => "TimedOut",
            Self::InternalError => "InternalError",
            Self::CleanupPending => "CleanupPending",
            Self::Paused => "Paused",
        }
    }

    /// Whether time or another object can resolve it. Otherwise a user must edit this object.
    pub(crate) const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::UserNotFound
                | Self::UserNotReady
                | Self::UserInactive
                | Self::UserWithoutRole
                | Self::DatabaseReplaced
                | Self::PasswordSecretNotFound
                | Self::PasswordRefused
                | Self::SecretRefused
                | Self::Pulling
                | Self::PullFailed
                | Self::PullStalled
                | Self::BackendUnreachable
                | Self::DatabaseUnavailable
                | Self::ApiServerError
                | Self::PermissionDenied
                | Self::WriteConflict
                | Self::TimedOut
                | Self::InternalError
                | Self::CleanupPending
        )
    }

    /// Whether only an edit of the object or of the operator's configuration can resolve it.
    /// Otherwise the operator must look again.
    pub(crate) const fn needs_edit(self) -> bool {
        matches!(
            self,
            Self::InvalidSpec
                | Self::RoleNotAllowed
                | Self::Revoked
                | Self::Expired
                | Self::RegistryNotAllowed
                | Self::InsecureNotAllowed
        )
    }
}

/// Why a spec is not applied, and what the user should change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) reason: Reason,
    /// One sentence for users. It has no times and no counters, so that an unchanged state leaves
    /// the status unchanged.
    pub(crate) message: String,
}

impl Blocked {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A condition to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DesiredCondition {
    pub(crate) type_: &'static str,
    pub(crate) status: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl DesiredCondition {
    pub(crate) fn new(type_: &'static str, status: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status, reason, message: message.into() }
    }

    /// Returns `Ready=True`.
    pub(crate) fn ready(reason: Reason, message: impl Into<String>) -> Vec<Self> {
        vec![Self::new(condition_type::READY, true, reason, message)]
    }

    /// Returns `Ready=False`, with `Reconciling` if the reason is transient, else `Stalled`.
    pub(crate) fn blocked(blocked: &Blocked) -> Vec<Self> {
        let Blocked { reason, message } = blocked;
        vec![Self::new(condition_type::READY, false, *reason, message), Self::next(*reason)]
    }

    /// Returns the condition that says who acts next. The message of `Ready` has the cause.
    pub(crate) fn next(reason: Reason) -> Self {
        if reason.is_transient() {
            Self::new(condition_type::RECONCILING, true, reason, "the operator tries again by itself")
        } else {
            Self::new(condition_type::STALLED, true, reason, "the operator waits for the change that Ready asks for")
        }
    }

    /// Returns `Paused=True`.
    pub(crate) fn paused() -> Self {
        let message = "the annotation paddock.dev/paused stops the operator; remove it to apply the spec";
        Self::new(condition_type::PAUSED, true, Reason::Paused, message)
    }
}

/// Whether the status reports `Ready=True`.
pub(crate) fn is_ready(status: &impl HasConditions) -> bool {
    status.condition(condition_type::READY).is_some_and(|ready| ready.status == "True")
}

/// Returns exactly the desired conditions. `lastTransitionTime` changes only if the status changes.
pub(crate) fn merge(
    before: &[Condition],
    desired: &[DesiredCondition],
    generation: i64,
    now: &K8sTime,
) -> Vec<Condition> {
    desired
        .iter()
        .map(|desired| {
            let status = if desired.status { "True" } else { "False" };
            let unchanged = before.iter().find(|c| c.type_ == desired.type_ && c.status == status);
            Condition {
                type_: desired.type_.to_owned(),
                status: status.to_owned(),
                reason: desired.reason.as_str().to_owned(),
                message: desired.message.clone(),
                observed_generation: Some(generation),
                last_transition_time: unchanged.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use paddock_store::clock::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::time::to_k8s_time;

    fn time(second: i64) -> K8sTime {
        to_k8s_time(Timestamp::from_micros(second * 1_000_000))
    }

    fn desired() -> impl Strategy<Value = Vec<DesiredCondition>> {
        let reason = prop::sample::select(vec![Reason::Applied, Reason::Conflict, Reason::Pulling]);
        let status = (any::<bool>(), any::<bool>(), reason, "[a-z]{0,3}");
        status.prop_map(|(ready, stalled, reason, message)| {
            let mut all = vec![DesiredCondition::new(condition_type::READY, ready, reason, message.as_str())];
            if stalled {
                all.push(DesiredCondition::new(condition_type::STALLED, true, reason, message));
            }
            all
        })
    }

    proptest! {
        #[test]
        fn a_second_merge_changes_nothing(a in desired(), b in desired(), generation in 1_i64..5) {
            let first = merge(&merge(&[], &a, 1, &time(10)), &b, generation, &time(20));
            prop_assert_eq!(merge(&first, &b, generation, &time(30)), first);
        }

        #[test]
        fn the_transition_time_changes_only_with_the_status(a in desired(), b in desired()) {
            let before = merge(&[], &a, 1, &time(10));
            for condition in merge(&before, &b, 2, &time(20)) {
                let same = before.iter().any(|c| c.type_ == condition.type_ && c.status == condition.status);
                prop_assert_eq!(condition.last_transition_time, time(if same { 10 } else { 20 }));
                prop_assert_eq!(condition.observed_generation, Some(2));
            }
        }
    }

    #[test]
    fn a_blocked_object_is_reconciling_or_stalled() {
        let types = |reason| -> Vec<_> {
            DesiredCondition::blocked(&Blocked::new(reason, "why")).iter().map(|w| (w.type_, w.status)).collect()
        };
        assert_eq!(types(Reason::UserNotFound), [("Ready", false), ("Reconciling", true)]);
        assert_eq!(types(Reason::EmailTaken), [("Ready", false), ("Stalled", true)]);
    }
}
