//! Conditions as kstatus, `kubectl wait` and people read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Types of conditions.
pub(crate) mod of_type {
    /// The object is as its spec says and can be used.
    pub(crate) const READY: &str = "Ready";
    /// Work goes on or is waited for. Absent otherwise.
    pub(crate) const RECONCILING: &str = "Reconciling";
    /// Nothing will happen until someone changes something. Absent otherwise.
    pub(crate) const STALLED: &str = "Stalled";
    /// An admin's word through the API outranks the spec. Absent otherwise.
    pub(crate) const OVERRIDDEN: &str = "Overridden";
    /// `ApiKey`: the Secret holds the active version.
    pub(crate) const SECRET_SYNCED: &str = "SecretSynced";
    /// `OllamaModel`: every backend has the model.
    pub(crate) const PULLED: &str = "Pulled";
}

/// Why a condition is as it is: the closed list for all three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The user is as the spec says.
    Applied,
    /// The user is as the spec says, and that is inactive.
    Disabled,
    /// The key is in its Secret.
    Issued,
    /// The model can be used.
    Available,
    /// A field breaks a rule that the schema could not check.
    InvalidSpec,
    /// The role may not be given from this namespace.
    RoleNotAllowed,
    /// The e-mail belongs to a user that no object manages.
    EmailTaken,
    /// Another object owns what this one asks for.
    Conflict,
    /// Nobody could administer without this user.
    LastAdmin,
    /// There is no such `ApiUser`.
    UserNotFound,
    /// The `ApiUser` has not been applied yet.
    UserNotReady,
    /// The `ApiUser` does not allow keys from this namespace.
    NamespaceNotAllowed,
    /// A Secret of that name is not ours.
    SecretConflict,
    /// The API server does not take the Secret.
    SecretRefused,
    /// The key was revoked.
    Revoked,
    /// The key has ended.
    Expired,
    /// An admin disabled or revoked it through the API.
    SetByAdmin,
    /// The model's registry is not allowed.
    RegistryNotAllowed,
    /// The model's registry may not be used insecurely.
    InsecureNotAllowed,
    /// Pulls are under way.
    Pulling,
    /// A pull failed and will be tried again.
    PullFailed,
    /// No backend answers.
    BackendUnreachable,
}

impl Reason {
    /// As it stands in a condition.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Disabled => "Disabled",
            Self::Issued => "Issued",
            Self::Available => "Available",
            Self::InvalidSpec => "InvalidSpec",
            Self::RoleNotAllowed => "RoleNotAllowed",
            Self::EmailTaken => "EmailTaken",
            Self::Conflict => "Conflict",
            Self::LastAdmin => "LastAdmin",
            Self::UserNotFound => "UserNotFound",
            Self::UserNotReady => "UserNotReady",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::SecretConflict => "SecretConflict",
            Self::SecretRefused => "SecretRefused",
            Self::Revoked => "Revoked",
            Self::Expired => "Expired",
            Self::SetByAdmin => "SetByAdmin",
            Self::RegistryNotAllowed => "RegistryNotAllowed",
            Self::InsecureNotAllowed => "InsecureNotAllowed",
            Self::Pulling => "Pulling",
            Self::PullFailed => "PullFailed",
            Self::BackendUnreachable => "BackendUnreachable",
        }
    }

    /// Whether time or another object may change it. What is not waiting needs someone to edit this object.
    pub(crate) const fn waits(self) -> bool {
        matches!(
            self,
            Self::UserNotFound
                | Self::UserNotReady
                | Self::SecretRefused
                | Self::Pulling
                | Self::PullFailed
                | Self::BackendUnreachable
        )
    }
}

/// Why an object is not carried out, and what its owner should change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// One sentence for people; no times and no counters, so that it does not change while nothing does.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A condition as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) type_: &'static str,
    pub(crate) status: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Wanted {
    pub(crate) fn new(type_: &'static str, status: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status, reason, message: message.into() }
    }

    /// `Ready=True`.
    pub(crate) fn ready(reason: Reason, message: impl Into<String>) -> Vec<Self> {
        vec![Self::new(of_type::READY, true, reason, message)]
    }

    /// `Ready=False`, and `Reconciling` or `Stalled` as the reason says.
    pub(crate) fn refused(refusal: &Refusal) -> Vec<Self> {
        let Refusal { reason, message } = refusal;
        let second = if reason.waits() { of_type::RECONCILING } else { of_type::STALLED };
        vec![Self::new(of_type::READY, false, *reason, message), Self::new(second, true, *reason, message)]
    }
}

/// The new conditions: exactly the wanted ones. `lastTransitionTime` moves only with the status.
pub(crate) fn merge(before: &[Condition], wanted: &[Wanted], generation: i64, now: &Time) -> Vec<Condition> {
    wanted
        .iter()
        .map(|wanted| {
            let status = if wanted.status { "True" } else { "False" };
            let since = before.iter().find(|c| c.type_ == wanted.type_ && c.status == status);
            Condition {
                type_: wanted.type_.to_owned(),
                status: status.to_owned(),
                reason: wanted.reason.text().to_owned(),
                message: wanted.message.clone(),
                observed_generation: Some(generation),
                last_transition_time: since.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    fn time(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn wanted() -> impl Strategy<Value = Vec<Wanted>> {
        let reason = prop::sample::select(vec![Reason::Applied, Reason::Conflict, Reason::Pulling]);
        let status = (any::<bool>(), any::<bool>(), reason, "[a-z]{0,3}");
        status.prop_map(|(ready, stalled, reason, message)| {
            let mut all = vec![Wanted::new(of_type::READY, ready, reason, message.as_str())];
            if stalled {
                all.push(Wanted::new(of_type::STALLED, true, reason, message));
            }
            all
        })
    }

    proptest! {
        #[test]
        fn merging_twice_changes_nothing(a in wanted(), b in wanted(), generation in 1_i64..5) {
            let first = merge(&merge(&[], &a, 1, &time(10)), &b, generation, &time(20));
            prop_assert_eq!(merge(&first, &b, generation, &time(30)), first);
        }

        #[test]
        fn the_time_moves_only_with_the_status(a in wanted(), b in wanted()) {
            let before = merge(&[], &a, 1, &time(10));
            for condition in merge(&before, &b, 2, &time(20)) {
                let same = before.iter().any(|c| c.type_ == condition.type_ && c.status == condition.status);
                prop_assert_eq!(condition.last_transition_time, time(if same { 10 } else { 20 }));
                prop_assert_eq!(condition.observed_generation, Some(2));
            }
        }
    }

    #[test]
    fn a_refusal_either_waits_or_is_stalled() {
        let types = |reason| -> Vec<_> {
            Wanted::refused(&Refusal::new(reason, "why")).iter().map(|w| (w.type_, w.status)).collect()
        };
        assert_eq!(types(Reason::UserNotFound), [("Ready", false), ("Reconciling", true)]);
        assert_eq!(types(Reason::EmailTaken), [("Ready", false), ("Stalled", true)]);
    }
}
