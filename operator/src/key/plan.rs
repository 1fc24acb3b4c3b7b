//! What the protocol has to do next for a key. Pure.
//!
//! The Secret has to have been read before the versions: a version whose id the Secret bears was staged before the Secret
//! was written, so that read in this order it is always among them, unless it has been dropped.

use std::time::Duration;

use paddock_accounts::{
    SecretId,
    credentials::{SecretState, SecretVersion},
};
use paddock_store::clock::Timestamp;

use crate::key::validate::Wanted;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The Secret bears this staged version: make it the active one.
    Activate { version: SecretId, grace: Duration },
    /// Stage another version, write it to the Secret, make it the active one.
    Issue { why: Why, grace: Duration },
    /// The Secret bears the active version.
    Keep { version: SecretId },
    /// The key has ended; nothing more comes.
    Ended,
}

/// Why another version is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is none yet.
    First,
    /// The Secret is gone.
    SecretDeleted,
    /// The Secret holds something else than the active version.
    SecretChanged,
    /// Someone asked.
    Requested,
    /// The interval is over.
    Due,
    /// A version was staged and never delivered; making another one active drops it.
    Undelivered,
}

impl Why {
    /// Whether someone took the key out of the Secret.
    pub(crate) const fn is_loss(self) -> bool {
        matches!(self, Self::SecretDeleted | Self::SecretChanged)
    }
}

/// What the Secret says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearing<'a> {
    /// The version whose plaintext it should hold.
    pub(crate) version: Option<SecretId>,
    /// The id of the key that it does hold, if that is well formed.
    pub(crate) key_id: Option<&'a str>,
    /// The request for rotation that its version has answered.
    pub(crate) answered: Option<&'a str>,
}

/// What is known.
pub(crate) struct Facts<'a> {
    pub(crate) wanted: &'a Wanted,
    /// The object's own Secret.
    pub(crate) held: Option<Bearing<'a>>,
    /// The credential's versions that are not revoked.
    pub(crate) versions: &'a [SecretVersion],
    /// The end of the credential itself.
    pub(crate) expires_at: Option<Timestamp>,
    /// The request that status says was answered last.
    pub(crate) answered: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// The next step.
pub(crate) fn next(facts: &Facts<'_>) -> Step {
    if facts.expires_at.is_some_and(|end| end <= facts.now) {
        return Step::Ended;
    }
    if let Some(version) = facts.held.and_then(|held| held.version).filter(|id| is_staged(facts.versions, *id)) {
        return Step::Activate { version, grace: recovered_grace(facts) };
    }
    // Whatever another version is made for, it answers the request too, and so ends the old one as the request says.
    let request = facts.wanted.request.as_ref().filter(|request| !is_answered(facts, &request.value));
    let grace = request.map_or(facts.wanted.grace, |request| request.grace);
    let issue = |why| Step::Issue { why, grace };
    let Some(active) = active(facts.versions) else { return issue(Why::First) };
    let Some(held) = facts.held else { return issue(Why::SecretDeleted) };
    if held.key_id != Some(&active.key_id) {
        return issue(Why::SecretChanged);
    }
    if request.is_some() {
        return issue(Why::Requested);
    }
    if facts.wanted.interval.is_some_and(|interval| facts.now >= active.issued_at + interval) {
        return issue(Why::Due);
    }
    if active.not_after().is_some_and(|end| end <= facts.now) {
        return Step::Ended;
    }
    if facts.versions.iter().any(|version| version.state == SecretState::Staged) {
        return issue(Why::Undelivered);
    }
    Step::Keep { version: active.id }
}

/// The version that counts.
pub(crate) fn active(versions: &[SecretVersion]) -> Option<&SecretVersion> {
    versions.iter().find(|version| version.state == SecretState::Active)
}

/// When the next version is due.
pub(crate) fn next_rotation(wanted: &Wanted, versions: &[SecretVersion]) -> Option<Timestamp> {
    Some(active(versions)?.issued_at + wanted.interval?)
}

fn is_staged(versions: &[SecretVersion], id: SecretId) -> bool {
    versions.iter().any(|version| version.id == id && version.state == SecretState::Staged)
}

fn is_answered(facts: &Facts<'_>, value: &str) -> bool {
    facts.answered == Some(value) || facts.held.and_then(|held| held.answered) == Some(value)
}

/// The grace of a rotation that another run had brought up to its last step: that of the request if it was for one.
fn recovered_grace(facts: &Facts<'_>) -> Duration {
    let bears = facts.held.and_then(|held| held.answered);
    match &facts.wanted.request {
        Some(request) if bears == Some(&request.value) && facts.answered != bears => request.grace,
        _ => facts.wanted.grace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::validate::{self, Request};
    use proptest::prelude::*;
    use serde_json::json;

    const HOUR: Duration = Duration::from_hours(1);
    const NOW: Timestamp = Timestamp::from_micros(1_000 * 3_600_000_000);

    /// The database and the Secret, as the steps change them.
    #[derive(Clone, Debug)]
    struct World {
        versions: Vec<SecretVersion>,
        secret: Option<(Option<SecretId>, Option<String>, Option<String>)>,
        request: Option<Request>,
        answered: Option<String>,
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
        }
    }

    impl World {
        fn new() -> Self {
            Self { versions: vec![], secret: None, request: None, answered: None, interval: None, expires_at: None }
        }

        /// Settled on version 1, `hours_old`.
        fn settled(hours_old: u32) -> Self {
            let secret = Some((Some(SecretId(1)), Some("key1".to_owned()), None));
            Self { versions: vec![version(1, SecretState::Active, hours_old)], secret, ..Self::new() }
        }

        fn next(&self) -> Step {
            let object = json!({"apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "k"},
                "spec": {"userRef": {"name": "u"}}});
            let mut wanted = validate::wanted(&serde_json::from_value(object).unwrap()).unwrap();
            wanted.interval = self.interval;
            wanted.request = self.request.clone();
            let held = self.secret.as_ref().map(|(version, key_id, answered)| Bearing {
                version: *version,
                key_id: key_id.as_deref(),
                answered: answered.as_deref(),
            });
            let (answered, expires_at) = (self.answered.as_deref(), self.expires_at);
            next(&Facts { wanted: &wanted, held, versions: &self.versions, expires_at, answered, now: NOW })
        }

        /// Does to the world what the step says; false when there is nothing to do.
        fn take(&mut self, step: Step) -> bool {
            match step {
                Step::Keep { .. } | Step::Ended => return false,
                Step::Activate { version, .. } => self.activate(version),
                Step::Issue { .. } => {
                    let id = self.versions.iter().map(|version| version.id.0).max().unwrap_or(0) + 1;
                    self.versions.push(version(id, SecretState::Staged, 0));
                    let answered = self.request.as_ref().map(|request| request.value.clone());
                    self.secret = Some((Some(SecretId(id)), Some(format!("key{id}")), answered));
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

    fn issues(world: &World) -> Option<Why> {
        match world.next() {
            Step::Issue { why, .. } => Some(why),
            _ => None,
        }
    }

    #[test]
    fn each_reason_for_another_version() {
        assert_eq!(issues(&World::new()), Some(Why::First));
        assert_eq!(World::settled(1).next(), Step::Keep { version: SecretId(1) });
        assert_eq!(issues(&World { secret: None, ..World::settled(1) }), Some(Why::SecretDeleted));
        let edited = Some((Some(SecretId(1)), None, None));
        assert_eq!(issues(&World { secret: edited, ..World::settled(1) }), Some(Why::SecretChanged));
        let interval = Some(HOUR * 2);
        assert_eq!(issues(&World { interval, ..World::settled(1) }), None);
        assert_eq!(issues(&World { interval, ..World::settled(2) }), Some(Why::Due));
        let request = Some(Request { value: "now".to_owned(), grace: Duration::ZERO });
        let asked = World { request, ..World::settled(1) };
        assert_eq!(asked.next(), Step::Issue { why: Why::Requested, grace: Duration::ZERO });
        assert_eq!(issues(&World { answered: Some("now".to_owned()), ..asked.clone() }), None);
        let mut stray = World::settled(1);
        stray.versions.push(version(2, SecretState::Staged, 0));
        assert_eq!(issues(&stray), Some(Why::Undelivered));
        assert_eq!(World { expires_at: Some(NOW), ..asked }.next(), Step::Ended);
    }

    #[test]
    fn a_delivered_version_is_made_active_with_the_grace_of_its_request() {
        let mut crashed = World::settled(1);
        crashed.versions.push(version(2, SecretState::Staged, 0));
        crashed.secret = Some((Some(SecretId(2)), Some("key2".to_owned()), Some("now".to_owned())));
        crashed.request = Some(Request { value: "now".to_owned(), grace: HOUR });
        assert_eq!(crashed.next(), Step::Activate { version: SecretId(2), grace: HOUR });
        crashed.answered = Some("now".to_owned());
        assert_eq!(crashed.next(), Step::Activate { version: SecretId(2), grace: validate::DEFAULT_GRACE });
    }

    fn worlds() -> impl Strategy<Value = World> {
        let state = prop::sample::select(vec![SecretState::Staged, SecretState::Retiring, SecretState::Active]);
        let versions = prop::collection::vec((state, 0_u32..4), 0..5);
        let secret = prop::option::of((prop::option::of(0_i64..6), prop::option::of(0_i64..6), any::<bool>()));
        (versions, secret, any::<(bool, bool, bool)>()).prop_map(|(versions, secret, (asked, told, rotates))| {
            let mut world = World::new();
            for (id, (state, hours)) in (1..).zip(versions) {
                let taken = active(&world.versions).is_some();
                let state = if taken && state == SecretState::Active { SecretState::Retiring } else { state };
                world.versions.push(version(id, state, hours));
            }
            let answer = |yes: bool| yes.then(|| "now".to_owned());
            world.secret =
                secret.map(|(id, key, done)| (id.map(SecretId), key.map(|key| format!("key{key}")), answer(done)));
            world.request = asked.then(|| Request { value: "now".to_owned(), grace: HOUR });
            world.answered = answer(told);
            world.interval = rotates.then_some(HOUR * 2);
            world
        })
    }

    proptest! {
        /// From wherever another run, another leader or a user has left things, a few steps lead to rest: one version
        /// active, none staged, the Secret holds the active one, and the request is answered.
        #[test]
        fn every_world_comes_to_rest(mut world in worlds()) {
            let mut steps = 0;
            loop {
                let step = world.next();
                if !world.take(step) {
                    break;
                }
                steps += 1;
                prop_assert!(steps <= 3, "{:?}", world);
            }
            let states = |state| world.versions.iter().filter(|version| version.state == state).count();
            prop_assert_eq!((states(SecretState::Active), states(SecretState::Staged)), (1, 0));
            let key_id = active(&world.versions).map(|version| version.key_id.clone());
            prop_assert_eq!(world.secret.clone().and_then(|(_, key_id, _)| key_id), key_id);
            prop_assert_ne!(issues(&world), Some(Why::Requested));
        }
    }
}
