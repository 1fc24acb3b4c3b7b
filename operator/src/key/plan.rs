//! The next step of the protocol that issues and rotates a key. Pure.
//!
//! The caller must read the Secret first, and then the versions. A version is staged before it is
//! written to the Secret. In this order, the caller therefore always reads the version that the
//! Secret names, unless the version was revoked.

use std::time::Duration;

use paddock_accounts::{
    SecretId,
    credentials::{SecretState, SecretVersion},
};
use paddock_store::clock::Timestamp;

use crate::key::validate::KeySpec;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Activate the staged version that the Secret holds.
    Activate { version: SecretId, grace: Duration },
    /// Stage another version, write it to the Secret, activate it.
    Issue { reason: IssueReason, grace: Duration },
    /// Nothing: the Secret holds the active version.
    Keep { version: SecretId },
    /// Nothing: the key has expired.
    Expired,
}

/// Why another version is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssueReason {
    /// No version is active.
    First,
    /// The Secret was deleted.
    SecretDeleted,
    /// The Secret no longer holds the active version.
    SecretChanged,
    /// The database has lost the version that the Secret holds: it was restored from a backup.
    DatabaseRestored,
    /// An annotation requests a rotation.
    Requested,
    /// The rotation interval has passed.
    Due,
    /// A staged version was never delivered. Activating another version revokes it.
    Undelivered,
}

/// The parts of the Secret that the plan depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecretFacts<'a> {
    /// The version that the annotation of the Secret names.
    pub(crate) version: Option<SecretId>,
    /// The ID of the key in the Secret, if the key is well formed.
    pub(crate) key_id: Option<&'a str>,
    /// The rotation request that the annotation of the Secret names as handled.
    pub(crate) handled_request: Option<&'a str>,
}

/// The input of the plan.
pub(crate) struct Inputs<'a> {
    pub(crate) spec: &'a KeySpec,
    /// The object's own Secret.
    pub(crate) secret: Option<SecretFacts<'a>>,
    /// The credential's versions that are not revoked.
    pub(crate) versions: &'a [SecretVersion],
    /// When the credential itself expires.
    pub(crate) expires_at: Option<Timestamp>,
    /// The rotation request that the status names as handled.
    pub(crate) handled_request: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// Returns the next step.
pub(crate) fn next_step(inputs: &Inputs<'_>) -> Step {
    if inputs.expires_at.is_some_and(|end| end <= inputs.now) {
        return Step::Expired;
    }
    if let Some(version) = inputs.secret.and_then(|secret| secret.version).filter(|id| is_staged(inputs.versions, *id))
    {
        return Step::Activate { version, grace: recovered_grace(inputs) };
    }
    // Every new version also fulfils a pending rotation request, so the grace period of the request
    // applies to the old version.
    let request = inputs.spec.request.as_ref().filter(|request| !is_handled(inputs, &request.value));
    let grace = request.map_or(inputs.spec.grace, |request| request.grace);
    let issue = |reason| Step::Issue { reason, grace };
    let Some(active) = active_version(inputs.versions) else { return issue(IssueReason::First) };
    let Some(secret) = inputs.secret else { return issue(IssueReason::SecretDeleted) };
    if secret.key_id != Some(&active.key_id) {
        return issue(if is_newer(&secret, inputs.versions) {
            IssueReason::DatabaseRestored
        } else {
            IssueReason::SecretChanged
        });
    }
    if request.is_some() {
        return issue(IssueReason::Requested);
    }
    if inputs.spec.interval.is_some_and(|interval| inputs.now >= active.issued_at + interval) {
        return issue(IssueReason::Due);
    }
    if active.not_after().is_some_and(|end| end <= inputs.now) {
        return Step::Expired;
    }
    let is_undelivered = |version: &SecretVersion| {
        version.state == SecretState::Staged && version.not_after().is_none_or(|end| end > inputs.now)
    };
    if inputs.versions.iter().any(is_undelivered) {
        return issue(IssueReason::Undelivered);
    }
    Step::Keep { version: active.id }
}

/// Returns the active version.
pub(crate) fn active_version(versions: &[SecretVersion]) -> Option<&SecretVersion> {
    versions.iter().find(|version| version.state == SecretState::Active)
}

/// Returns when the next rotation is due.
pub(crate) fn next_rotation(spec: &KeySpec, versions: &[SecretVersion]) -> Option<Timestamp> {
    Some(active_version(versions)?.issued_at + spec.interval?)
}

fn is_staged(versions: &[SecretVersion], id: SecretId) -> bool {
    versions.iter().any(|version| version.id == id && version.state == SecretState::Staged)
}

/// Whether the Secret holds a key of a version that is newer than every version in the database.
fn is_newer(secret: &SecretFacts<'_>, versions: &[SecretVersion]) -> bool {
    let newest = versions.iter().map(|version| version.id.0).max();
    secret.key_id.is_some() && secret.version.is_some_and(|version| newest.is_none_or(|newest| version.0 > newest))
}

fn is_handled(inputs: &Inputs<'_>, value: &str) -> bool {
    inputs.handled_request == Some(value) || inputs.secret.and_then(|secret| secret.handled_request) == Some(value)
}

/// Returns the grace period for a rotation whose last step is missing. This is the grace period of
/// the rotation request if the rotation fulfils the request, and otherwise the grace period of the
/// spec.
fn recovered_grace(inputs: &Inputs<'_>) -> Duration {
    let in_secret = inputs.secret.and_then(|secret| secret.handled_request);
    match &inputs.spec.request {
        Some(request) if in_secret == Some(&request.value) && inputs.handled_request != in_secret => request.grace,
        _ => inputs.spec.grace,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::key::validate::{self, RotationRequest};

    const HOUR: Duration = Duration::from_hours(1);
    const NOW: Timestamp = Timestamp::from_micros(1_000 * 3_600_000_000);

    /// A simulation of the database and the Secret.
    #[derive(Clone, Debug)]
    struct World {
        versions: Vec<SecretVersion>,
        secret: Option<(Option<SecretId>, Option<String>, Option<String>)>,
        request: Option<RotationRequest>,
        handled_request: Option<String>,
        interval: Option<Duration>,
        expires_at: Option<Timestamp>,
    }

    fn version(id: i64, state: SecretState, hours_old: u32) -> SecretVersion {
        SecretVersion {
            id: SecretId(id),
            key_id: format!("key{id}"),
            state,
            issued_at: NOW - HOUR * hours_old,
            expires_at: None,
            retire_at: (state == SecretState::Retiring).then_some(NOW + HOUR),
            last_used_at: None,
        }
    }

    impl World {
        fn new() -> Self {
            Self {
                versions: vec![],
                secret: None,
                request: None,
                handled_request: None,
                interval: None,
                expires_at: None,
            }
        }

        /// Returns a world in which version 1 is active, issued `hours_old` hours ago.
        fn settled(hours_old: u32) -> Self {
            let secret = Some((Some(SecretId(1)), Some("key1".to_owned()), None));
            Self { versions: vec![version(1, SecretState::Active, hours_old)], secret, ..Self::new() }
        }

        fn next(&self) -> Step {
            let object = json!({"apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "k"},
                "spec": {"userRef": {"name": "u"}}});
            let mut spec = validate::key_spec(&serde_json::from_value(object).unwrap()).unwrap();
            spec.interval = self.interval;
            spec.request = self.request.clone();
            let secret = self.secret.as_ref().map(|(version, key_id, handled_request)| SecretFacts {
                version: *version,
                key_id: key_id.as_deref(),
                handled_request: handled_request.as_deref(),
            });
            next_step(&Inputs {
                spec: &spec,
                secret,
                versions: &self.versions,
                expires_at: self.expires_at,
                handled_request: self.handled_request.as_deref(),
                now: NOW,
            })
        }

        /// Runs the step. Returns false if there is nothing to do.
        fn run(&mut self, step: Step) -> bool {
            match step {
                Step::Keep { .. } | Step::Expired => return false,
                Step::Activate { version, .. } => self.activate(version),
                Step::Issue { .. } => {
                    let id = self.versions.iter().map(|version| version.id.0).max().unwrap_or(0) + 1;
                    self.versions.push(version(id, SecretState::Staged, 0));
                    let handled_request = self.request.as_ref().map(|request| request.value.clone());
                    self.secret = Some((Some(SecretId(id)), Some(format!("key{id}")), handled_request));
                    self.activate(SecretId(id));
                }
            }
            true
        }

        fn activate(&mut self, id: SecretId) {
            for version in &mut self.versions {
                version.state = match version.state {
                    _ if version.id == id => SecretState::Active,
                    SecretState::Active => SecretState::Retiring,
                    SecretState::Staged => SecretState::Revoked,
                    other => other,
                };
            }
            self.versions.retain(|version| version.state != SecretState::Revoked);
        }
    }

    fn issue_reason(world: &World) -> Option<IssueReason> {
        match world.next() {
            Step::Issue { reason, .. } => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn every_issue_reason() {
        assert_eq!(issue_reason(&World::new()), Some(IssueReason::First));
        assert_eq!(World::settled(1).next(), Step::Keep { version: SecretId(1) });
        assert_eq!(issue_reason(&World { secret: None, ..World::settled(1) }), Some(IssueReason::SecretDeleted));
        let edited = Some((Some(SecretId(1)), None, None));
        assert_eq!(issue_reason(&World { secret: edited, ..World::settled(1) }), Some(IssueReason::SecretChanged));
        let interval = Some(HOUR * 2);
        assert_eq!(issue_reason(&World { interval, ..World::settled(1) }), None);
        assert_eq!(issue_reason(&World { interval, ..World::settled(2) }), Some(IssueReason::Due));
        let request = Some(RotationRequest { value: "now".to_owned(), grace: Duration::ZERO });
        let asked = World { request, ..World::settled(1) };
        assert_eq!(asked.next(), Step::Issue { reason: IssueReason::Requested, grace: Duration::ZERO });
        assert_eq!(issue_reason(&World { handled_request: Some("now".to_owned()), ..asked.clone() }), None);
        let mut stray = World::settled(1);
        stray.versions.push(version(2, SecretState::Staged, 0));
        assert_eq!(issue_reason(&stray), Some(IssueReason::Undelivered));
        stray.versions[1].expires_at = Some(NOW);
        assert_eq!(
            stray.next(),
            Step::Keep { version: SecretId(1) },
            "a staged version that has ended needs no other one"
        );
        let newer = Some((Some(SecretId(9)), Some("key9".to_owned()), None));
        assert_eq!(issue_reason(&World { secret: newer, ..World::settled(1) }), Some(IssueReason::DatabaseRestored));
        assert_eq!(World { expires_at: Some(NOW), ..asked }.next(), Step::Expired);
    }

    #[test]
    fn a_delivered_version_is_activated_with_the_grace_of_its_request() {
        let mut crashed = World::settled(1);
        crashed.versions.push(version(2, SecretState::Staged, 0));
        crashed.secret = Some((Some(SecretId(2)), Some("key2".to_owned()), Some("now".to_owned())));
        crashed.request = Some(RotationRequest { value: "now".to_owned(), grace: HOUR });
        assert_eq!(crashed.next(), Step::Activate { version: SecretId(2), grace: HOUR });
        crashed.handled_request = Some("now".to_owned());
        assert_eq!(crashed.next(), Step::Activate { version: SecretId(2), grace: validate::DEFAULT_GRACE_PERIOD });
    }

    fn worlds() -> impl Strategy<Value = World> {
        let state = prop::sample::select(vec![SecretState::Staged, SecretState::Retiring, SecretState::Active]);
        let versions = prop::collection::vec((state, 0_u32..4), 0..5);
        let secret = prop::option::of((prop::option::of(0_i64..6), prop::option::of(0_i64..6), any::<bool>()));
        (versions, secret, any::<(bool, bool, bool)>()).prop_map(|(versions, secret, (asked, told, rotates))| {
            let mut world = World::new();
            for (id, (state, hours)) in (1..).zip(versions) {
                let taken = active_version(&world.versions).is_some();
                let state = if taken && state == SecretState::Active { SecretState::Retiring } else { state };
                world.versions.push(version(id, state, hours));
            }
            let value = |is_set: bool| is_set.then(|| "now".to_owned());
            world.secret =
                secret.map(|(id, key, done)| (id.map(SecretId), key.map(|key| format!("key{key}")), value(done)));
            world.request = asked.then(|| RotationRequest { value: "now".to_owned(), grace: HOUR });
            world.handled_request = value(told);
            world.interval = rotates.then_some(HOUR * 2);
            world
        })
    }

    proptest! {
        /// A crash, another leader or a user may leave the world in any state. After at most three
        /// steps, one version is active, no version is staged, the Secret holds the active version,
        /// and the request is handled.
        #[test]
        fn every_world_settles(mut world in worlds()) {
            let mut steps = 0;
            loop {
                let step = world.next();
                if !world.run(step) {
                    break;
                }
                steps += 1;
                prop_assert!(steps <= 3, "{:?}", world);
            }
            let states = |state| world.versions.iter().filter(|version| version.state == state).count();
            prop_assert_eq!((states(SecretState::Active), states(SecretState::Staged)), (1, 0));
            let key_id = active_version(&world.versions).map(|version| version.key_id.clone());
            prop_assert_eq!(world.secret.clone().and_then(|(_, key_id, _)| key_id), key_id);
            prop_assert_ne!(issue_reason(&world), Some(IssueReason::Requested));
        }
    }
}
