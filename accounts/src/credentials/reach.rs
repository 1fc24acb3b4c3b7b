//! How much a key may give to others.

use super::{Credential, NewKey};
use crate::{clock::Time, error::Error, limits::Limits, patterns::ModelPatterns, sets::Scopes, users::UserId};

/// What a key has itself, and so may give at the most: in a key that it issues, and by being told the new secret of one that
/// it rotates. A session of an admin may give anything.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Its scopes.
    pub scopes: &'a Scopes,
    /// What it is narrowed to.
    pub own: Bounds<'a>,
    /// Whose it is.
    pub owner: UserId,
    /// What its owner is narrowed to. Keys of the same owner have it anyhow and need not repeat it.
    pub owners: Bounds<'a>,
    /// When the secret that asks ends.
    pub expires_at: Option<Time>,
    /// Whether every model that the second pattern means the first one means too: what patterns mean is not known here.
    pub covers: fn(&str, &str) -> bool,
}

/// What a key or a user is narrowed to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The models.
    pub models: Option<&'a ModelPatterns>,
    /// The limits.
    pub limits: &'a Limits,
}

impl Reach<'_> {
    /// Whether a key to be is within reach; if not, [`Error::Beyond`] names everything that is not. What the new key leaves
    /// out is not narrowed in silence: it asks for all of it.
    pub fn covers_new(&self, new: &NewKey) -> Result<(), Error> {
        let scopes = new.scopes.clone().unwrap_or_else(Scopes::default_for_keys);
        let bounds = Bounds { models: new.models.as_ref(), limits: &new.limits };
        self.check(new.user_id, &scopes, bounds, new.expires_at)
    }

    /// The same for a key that is there.
    pub(super) fn covers_key(&self, key: &Credential) -> Result<(), Error> {
        let bounds = Bounds { models: key.models.as_ref(), limits: &key.limits };
        self.check(key.user_id, &key.scopes, bounds, key.expires_at)
    }

    fn check(&self, user: UserId, scopes: &Scopes, asked: Bounds<'_>, expires_at: Option<Time>) -> Result<(), Error> {
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
        if beyond.is_empty() { Ok(()) } else { Err(Error::Beyond(beyond)) }
    }
}

impl Bounds<'_> {
    /// What is to be said of models that were asked for and are not within these.
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
