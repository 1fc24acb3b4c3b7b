//! The cached result of verifying a credential, and the check of its expiry.

use std::sync::Arc;

use paddock_store::{clock::Timestamp, ids::UserId};

use crate::{access::principal::Principal, auth_failure::AuthFailure};

/// The result of verifying a credential.
#[derive(Clone, Debug)]
pub(crate) struct CachedDecision {
    pub(crate) outcome: Result<Arc<Principal>, AuthFailure>,
    /// The user that the credential belongs to, if any.
    pub(crate) user: Option<UserId>,
    /// When the credential expires, and the failure from then on.
    pub(crate) until: Option<(Timestamp, AuthFailure)>,
}

impl CachedDecision {
    /// Creates a rejection without a user.
    pub(crate) fn rejected(failure: AuthFailure) -> Self {
        Self { outcome: Err(failure), user: None, until: None }
    }

    /// Returns the result at this time.
    pub(crate) fn at(&self, now: Timestamp) -> Result<Arc<Principal>, AuthFailure> {
        match self.until {
            Some((end, failure)) if end <= now => self.outcome.clone().and(Err(failure)),
            _ => self.outcome.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_keeps_its_reason_after_the_expiry() {
        let end = Timestamp::from_micros(10);
        let until = Some((end, AuthFailure::Expired));
        let decision = CachedDecision { until, ..CachedDecision::rejected(AuthFailure::Disabled) };
        assert_eq!(decision.at(Timestamp::from_micros(9)).unwrap_err(), AuthFailure::Disabled);
        assert_eq!(decision.at(end).unwrap_err(), AuthFailure::Disabled);
    }
}
