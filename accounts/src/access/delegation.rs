//! Delegation limits: the rights that an API key may pass on to another key.

use paddock_store::{clock::Timestamp, ids::UserId};

use crate::{
    error::Error,
    types::{Limits, ModelPatterns, Priority, Scopes, TextEnum as _},
};

/// The rights that an API key may pass on to a key that it issues or rotates: rotating a key
/// returns its new secret. A session of an admin has no such limits.
#[derive(Clone, Copy, Debug)]
pub struct DelegationLimits<'a> {
    /// The scopes of the calling key.
    pub scopes: &'a Scopes,
    /// The constraints of the calling key.
    pub own: Constraints<'a>,
    /// The owner of the calling key.
    pub owner: UserId,
    /// The constraints of its owner. They apply to every key of the owner anyway, so they are
    /// checked only for keys of other users.
    pub owners: Constraints<'a>,
    /// When the calling secret expires.
    pub expires_at: Option<Timestamp>,
    /// The caller passes this function, because this crate does not interpret patterns.
    pub covers: CoversModels,
}

/// Decides whether the first list of model patterns allows every model that the second list allows
/// by the pattern in the third argument.
pub type CoversModels = fn(&[&str], &[&str], &str) -> bool;

/// The constraints of a key or a user.
#[derive(Clone, Copy, Debug)]
pub struct Constraints<'a> {
    /// The allowed models; `None` allows all.
    pub models: Option<&'a ModelPatterns>,
    /// The limits.
    pub limits: &'a Limits,
    /// The band in the queue.
    pub priority: Priority,
}

impl DelegationLimits<'_> {
    /// Checks that a key with these fields stays within the limits. Otherwise fails with
    /// [`Error::ExceedsGrant`], which names every field that exceeds them.
    pub(crate) fn check(
        &self,
        user: UserId,
        scopes: &Scopes,
        requested: Constraints<'_>,
        expires_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut excess = Vec::new();
        let missing = scopes.without(self.scopes);
        if !missing.is_empty() {
            excess.push(format!("scopes: it lacks {missing}"));
        }
        let owners = (user != self.owner).then_some(("its owner's", self.owners));
        for (whose, most) in [("its own", self.own)].into_iter().chain(owners) {
            excess.extend(most.models_beyond(whose, requested.models, self.covers));
            excess.extend(
                requested
                    .limits
                    .above(most.limits)
                    .map(|(name, most)| format!("limits.{name}: at most {whose} {most}")),
            );
            if requested.priority > most.priority {
                excess.push(format!("priority: at most {whose} {}", most.priority.text()));
            }
        }
        if let Some(end) = self.expires_at
            && expires_at.is_none_or(|requested| requested > end)
        {
            excess.push(format!("expires_at: no later than {end}, when the secret that asks ends"));
        }
        if excess.is_empty() { Ok(()) } else { Err(Error::ExceedsGrant(excess)) }
    }
}

impl Constraints<'_> {
    /// Describes the requested models that exceed these constraints; `None` if none does.
    fn models_beyond(&self, whose: &str, requested: Option<&ModelPatterns>, covers: CoversModels) -> Option<String> {
        let own = self.models?;
        let Some(requested) = requested else { return Some(format!("models: name some within {whose} ({own})")) };
        let (patterns, requested): (Vec<_>, Vec<_>) = (own.iter().collect(), requested.iter().collect());
        let missing: Vec<_> =
            requested.iter().copied().filter(|pattern| !covers(&patterns, &requested, pattern)).collect();
        (!missing.is_empty()).then(|| format!("models: {} is not within {whose} ({own})", missing.join(" ")))
    }
}
