//! What the protocol has to do next for a key. Pure.
//!
//! The Secret has to have been read before the versions: a version whose id the Secret bears was staged before the Secret
//! was written, so that read in this order it is always among them, unless it has been dropped.

use std::time::Duration;

use paddock_accounts::clock::Time;
use paddock_accounts::credentials::SecretState;
use paddock_accounts::secrets::{SecretId, SecretVersion};

use crate::key::secret::Held;
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

/// What is known.
pub(crate) struct Facts<'a> {
    pub(crate) wanted: &'a Wanted,
    /// The object's own Secret.
    pub(crate) held: Option<&'a Held>,
    /// The credential's versions that are not revoked.
    pub(crate) versions: &'a [SecretVersion],
    /// The end of the credential itself.
    pub(crate) expires_at: Option<Time>,
    /// The request that status says was answered last.
    pub(crate) answered: Option<&'a str>,
    pub(crate) now: Time,
}

/// The next step.
pub(crate) fn next(facts: &Facts<'_>) -> Step {
    if facts.expires_at.is_some_and(|end| end <= facts.now) {
        return Step::Ended;
    }
    if let Some(version) = facts.held.and_then(|held| held.version).filter(|id| is_staged(facts.versions, *id)) {
        return Step::Activate { version, grace: recovered_grace(facts) };
    }
    let issue = |why, grace| Step::Issue { why, grace };
    let Some(active) = active(facts.versions) else { return issue(Why::First, facts.wanted.grace) };
    let Some(held) = facts.held else { return issue(Why::SecretDeleted, facts.wanted.grace) };
    if held.token.as_ref().map(paddock_accounts::token::Token::key_id) != Some(&active.key_id) {
        return issue(Why::SecretChanged, facts.wanted.grace);
    }
    if let Some(request) = facts.wanted.request.as_ref().filter(|request| !is_answered(facts, &request.value)) {
        return issue(Why::Requested, request.grace);
    }
    if facts.wanted.interval.is_some_and(|interval| facts.now >= active.issued_at + interval) {
        return issue(Why::Due, facts.wanted.grace);
    }
    if active.not_after().is_some_and(|end| end <= facts.now) {
        return Step::Ended;
    }
    if facts.versions.iter().any(|version| version.state == SecretState::Staged) {
        return issue(Why::Undelivered, facts.wanted.grace);
    }
    Step::Keep { version: active.id }
}

/// The version that counts.
pub(crate) fn active(versions: &[SecretVersion]) -> Option<&SecretVersion> {
    versions.iter().find(|version| version.state == SecretState::Active)
}

/// When the next version is due.
pub(crate) fn next_rotation(wanted: &Wanted, versions: &[SecretVersion]) -> Option<Time> {
    Some(active(versions)?.issued_at + wanted.interval?)
}

fn is_staged(versions: &[SecretVersion], id: SecretId) -> bool {
    versions.iter().any(|version| version.id == id && version.state == SecretState::Staged)
}

fn is_answered(facts: &Facts<'_>, value: &str) -> bool {
    facts.answered == Some(value) || facts.held.and_then(|held| held.answered.as_deref()) == Some(value)
}

/// The grace of a rotation that another run had brought up to its last step: that of the request if it was for one.
fn recovered_grace(facts: &Facts<'_>) -> Duration {
    let bears = facts.held.and_then(|held| held.answered.as_deref());
    match &facts.wanted.request {
        Some(request) if bears == Some(&request.value) && facts.answered != bears => request.grace,
        _ => facts.wanted.grace,
    }
}
