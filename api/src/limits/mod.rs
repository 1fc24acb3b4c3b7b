//! How many requests a minute a user and a key may make.
//!
//! There is a bucket for the keys of each user, one for its sessions, and one more for each key with a limit of its own; all that
//! concern a request must allow it. They are looked at in one place, after authentication and before any work. With a Redis all replicas count in the same buckets; each
//! process counts for itself without one, and while it is away.

pub(crate) mod guesses;
mod link;
mod memory;
mod rate;
mod shared;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::counter;
use paddock_accounts::{
    UserId,
    access::{AuthMethod, Principal},
    types::Limits as Own,
};
use tokio::time::Instant;

use crate::problem::whole_seconds;
pub(crate) use link::Link;
pub use memory::Memory;
pub use rate::{Rate, Standing};
pub use shared::Shared;

pub(crate) const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Whose requests a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user, with all its keys.
    User(i64),
    /// A user, with all its sessions: whoever holds a key of its cannot keep it from signing in and revoking that.
    Sessions(i64),
    /// A key.
    Key {
        /// Whose it is.
        user: i64,
        /// The key.
        id: i64,
    },
}

impl Owner {
    /// A word for metric labels.
    const fn text(self) -> &'static str {
        match self {
            Self::User(_) | Self::Sessions(_) => "user",
            Self::Key { .. } => "key",
        }
    }
}

/// What a request draws on: a bucket, and its limit as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Whose bucket.
    pub owner: Owner,
    /// Its limit.
    pub rate: Rate,
}

/// How the bucket stands that tells, after a request at `now`: of those that have no room the one to wait for longest, and where
/// all had room the narrowest. Each bucket comes with the time at which it is full again.
fn telling(buckets: impl Iterator<Item = (Draw, u64)>, now: u64, taken: bool) -> Option<(Owner, Standing)> {
    let standings = buckets
        .filter(|(draw, full)| taken || draw.rate.take(*full, now).is_none())
        .map(|(draw, full)| (draw.owner, draw.rate.standing(full, now, taken)));
    if taken {
        standings.min_by_key(|(_, standing)| standing.remaining)
    } else {
        standings.max_by_key(|(_, standing)| standing.wait)
    }
}

/// The buckets of everyone.
pub(crate) struct Limits {
    /// The limit of users who have none of their own; `None`: they have none.
    default: Option<u64>,
    started: Instant,
    memory: Memory,
    /// The way to the buckets of all replicas, if they share any.
    link: Option<Link>,
}

/// More requests than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    whose: &'static str,
    limit: u64,
    /// When to come back.
    pub(crate) wait: Duration,
}

impl Exceeded {
    /// What is wrong, for people.
    pub(crate) fn message(&self) -> String {
        match self.limit {
            0 => format!("this {} may make no requests: its limit is 0 a minute", self.whose),
            limit => format!("this {} may make {limit} requests a minute; come back later", self.whose),
        }
    }
}

/// How the limits of a request's principal stand, once that is known. It is told with the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<OnceLock<Standing>>);

impl Told {
    /// Puts it into the headers of the answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Some(standing) = self.0.get() else { return };
        headers.insert(X_RATELIMIT_LIMIT, HeaderValue::from(standing.limit));
        headers.insert(X_RATELIMIT_REMAINING, HeaderValue::from(standing.remaining));
        headers.insert(X_RATELIMIT_RESET, whole_seconds(standing.reset));
    }
}

impl Limits {
    /// With this many requests a minute for users who have no limit of their own, 0: as many as they like; counted over this link,
    /// or without one by this process alone.
    pub(crate) fn new(default: u64, link: Option<Link>) -> Self {
        let default = (default > 0).then_some(default);
        Self { default, started: Instant::now(), memory: Memory::default(), link }
    }

    /// Counts a request, if all limits of its principal allow it. One that is refused counts nowhere.
    pub(crate) async fn admit(&self, principal: &Principal, told: &Told) -> Result<(), Exceeded> {
        self.draw(&self.draws(principal), told).await
    }

    /// The same for a user who goes on with a session.
    pub(crate) async fn admit_session(&self, user: UserId, limits: &Own, told: &Told) -> Result<(), Exceeded> {
        let draw = self.draw_of(Owner::Sessions(user.0), limits);
        self.draw(draw.as_slice(), told).await
    }

    async fn draw(&self, draws: &[Draw], told: &Told) -> Result<(), Exceeded> {
        let Some((owner, standing)) = self.count(draws).await else { return Ok(()) };
        let _ = told.0.set(standing);
        let Some(wait) = standing.wait else { return Ok(()) };
        counter!("paddock_rate_limited_total", "limit" => owner.text()).increment(1);
        Err(Exceeded { whose: owner.text(), limit: standing.limit, wait })
    }

    /// The buckets that a request of this principal draws on, its user's first.
    fn draws(&self, principal: &Principal) -> Vec<Draw> {
        let user = principal.user_id.0;
        let (owner, of_key) = match &principal.via {
            AuthMethod::Key { credential_id, limits, .. } => {
                let key = Owner::Key { user, id: credential_id.0 };
                (Owner::User(user), per_minute(limits).map(|limit| drawn(key, limit)))
            }
            AuthMethod::Session { .. } => (Owner::Sessions(user), None),
        };
        self.draw_of(owner, &principal.limits).into_iter().chain(of_key).collect()
    }

    /// The bucket of a user that this is.
    fn draw_of(&self, owner: Owner, limits: &Own) -> Option<Draw> {
        per_minute(limits).or(self.default).map(|limit| drawn(owner, limit))
    }

    async fn count(&self, draws: &[Draw]) -> Option<(Owner, Standing)> {
        if draws.is_empty() {
            return None;
        }
        if let Some(link) = &self.link
            // Large, and not part of every request.
            && let Ok(counted) = Box::pin(link.count(draws)).await
        {
            return counted;
        }
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.memory.count(draws, now)
    }

    /// Keeps looking whether the Redis is there.
    pub(crate) async fn watch(&self) {
        if let Some(link) = &self.link {
            link.watch().await;
        }
    }

    /// Looks once whether the Redis is there.
    pub(crate) async fn look(&self) {
        if let Some(link) = &self.link {
            link.look().await;
        }
    }
}

fn per_minute(limits: &Own) -> Option<u64> {
    limits.requests_per_minute.map(|limit| u64::try_from(limit).unwrap_or(0))
}

fn drawn(owner: Owner, limit: u64) -> Draw {
    Draw { owner, rate: Rate::per_minute(limit) }
}
