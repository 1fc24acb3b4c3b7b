//! How much a key may give to others.

use super::{Credential, NewKey};
use crate::{clock::Time, error::Error, limits::Limits, patterns::ModelPatterns, sets::Scopes};

/// What a key has itself, and so may give at the most: in a key that it issues, and by being told the new secret of one that
/// it rotates. A session of an admin may give anything.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Its scopes.
    pub scopes: &'a Scopes,
    /// The models it is narrowed to.
    pub models: Option<&'a ModelPatterns>,
    /// Its limits.
    pub limits: &'a Limits,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// Whether every model that the second pattern means the first one means too: what patterns mean is not known here.
    pub covers: fn(&str, &str) -> bool,
}

impl Reach<'_> {
    /// Whether a key to be is within reach; if not, [`Error::Beyond`] names everything that is not. What the new key leaves
    /// out is not narrowed in silence: it asks for all of it.
    pub fn covers_new(&self, new: &NewKey) -> Result<(), Error> {
        let scopes = new.scopes.clone().unwrap_or_else(Scopes::default_for_keys);
        self.check(&scopes, new.models.as_ref(), &new.limits, new.expires_at)
    }

    /// The same for a key that is there.
    pub(super) fn covers_key(&self, key: &Credential) -> Result<(), Error> {
        self.check(&key.scopes, key.models.as_ref(), &key.limits, key.expires_at)
    }

    fn check(
        &self,
        scopes: &Scopes,
        models: Option<&ModelPatterns>,
        limits: &Limits,
        expires_at: Option<Time>,
    ) -> Result<(), Error> {
        let mut beyond = Vec::new();
        let more = scopes.without(self.scopes);
        if !more.is_empty() {
            beyond.push(format!("scopes: it lacks {more}"));
        }
        if let Some(own) = self.models {
            match models {
                None => beyond.push(format!("models: name some within its own ({own})")),
                Some(models) => {
                    let known = |asked: &str| own.iter().any(|own| (self.covers)(own, asked));
                    let more: Vec<_> = models.iter().filter(|asked| !known(asked)).collect();
                    if !more.is_empty() {
                        beyond.push(format!("models: {} is not within its own ({own})", more.join(" ")));
                    }
                }
            }
        }
        for (name, most) in limits.above(self.limits) {
            beyond.push(format!("limits.{name}: at most its own {most}"));
        }
        if let Some(end) = self.expires_at
            && expires_at.is_none_or(|asked| asked > end)
        {
            beyond.push(format!("expires_at: no later than its own {end}"));
        }
        if beyond.is_empty() { Ok(()) } else { Err(Error::Beyond(beyond)) }
    }
}
