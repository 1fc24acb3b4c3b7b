//! How much of its own rights an API key may pass on to another key.

use paddock_store::{clock::Timestamp, ids::UserId};

use crate::{
    error::Error,
    types::{Limits, ModelPatterns, Scopes},
};

/// The rights that an API key may pass on: to a key that it issues, or to itself through the new secret
/// of a key that it rotates. A session of an admin has no such limits.
#[derive(Clone, Copy, Debug)]
pub struct DelegationLimits<'a> {
    /// The scopes of the calling key.
    pub scopes: &'a Scopes,
    /// The constraints of the calling key.
    pub own: Constraints<'a>,
    /// The owner of the calling key.
    pub owner: UserId,
    /// The constraints of its owner. They apply to every key of the owner, so such a key need not repeat them.
    pub owners: Constraints<'a>,
    /// When the calling secret expires.
    pub expires_at: Option<Timestamp>,
    /// Whether the first pattern covers every model of the second. This crate does not know what patterns mean.
    pub covers: fn(&str, &str) -> bool,
}

/// The constraints of a key or of a user.
#[derive(Clone, Copy, Debug)]
pub struct Constraints<'a> {
    /// The models.
    pub models: Option<&'a ModelPatterns>,
    /// The limits.
    pub limits: &'a Limits,
}

impl DelegationLimits<'_> {
    /// Checks that a key with these fields would not exceed the limits. [`Error::ExceedsGrant`] names
    /// every field that does.
    pub(crate) fn check(
        &self,
        user: UserId,
        scopes: &Scopes,
        asked: Constraints<'_>,
        expires_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut beyond = Vec::new();
        let more = scopes.without(self.scopes);
        if !more.is_empty() {
            beyond.push(format!("scopes: it lacks {more}"));
        }
        let owners = (user != self.owner).then_some(("its owner's", self.owners));
        for (whose, most) in [("its own", self.own)].into_iter().chain(owners) {
            beyond.extend(most.models_beyond(whose, asked.models, self.covers));
            beyond.extend(
                asked.limits.above(most.limits).map(|(name, most)| format!("limits.{name}: at most {whose} {most}")),
            );
        }
        if let Some(end) = self.expires_at
            && expires_at.is_none_or(|asked| asked > end)
        {
            beyond.push(format!("expires_at: no later than {end}, when the secret that asks ends"));
        }
        if beyond.is_empty() { Ok(()) } else { Err(Error::ExceedsGrant(beyond)) }
    }
}

impl Constraints<'_> {
    /// Describes the requested models that exceed these; `None` if none does.
    fn models_beyond(
        &self,
        whose: &str,
        asked: Option<&ModelPatterns>,
        covers: fn(&str, &str) -> bool,
    ) -> Option<String> {
        let own = self.models?;
        let Some(asked) = asked else { return Some(format!("models: name some within {whose} ({own})")) };
        let more: Vec<_> = asked.iter().filter(|asked| !own.iter().any(|own| covers(own, asked))).collect();
        (!more.is_empty()).then(|| format!("models: {} is not within {whose} ({own})", more.join(" ")))
    }
}
