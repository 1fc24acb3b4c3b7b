//! Admission: reserves what a request will use of the limits of its user and key, before the request
//! runs. A request without such limits costs no query.
//!
//! The database decides, so the limits hold over all replicas. The requests of one user are admitted
//! one after the other in each process, and refusals are shared: a client that repeats a refused
//! request quickly cannot occupy the connections to the database.

use std::{sync::Arc, time::Duration};

use metrics::counter;
use moka::sync::Cache;
use paddock_accounts::{
    Accounts, CredentialId, UserId,
    access::{AuthMethod, Principal},
    usage::{ExceededLimit, LimitKind, ReservationLimits},
};
use paddock_ollama::Operation;
use paddock_store::clock::Timestamp;
use tokio::{
    sync::{Mutex, OnceCell},
    time::{Instant, sleep},
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::usage::PendingUsage;
use crate::{
    http::{
        deadline::{DbError, with_db_timeout},
        error::{ApiError, Kind},
    },
    rate_limit::{BUCKETS_CAPACITY, bucket_cache},
};

/// The tokens that are reserved for a response without a limit of its own.
const DEFAULT_OUTPUT_TOKENS: u64 = 512;
/// The most tokens that one request reserves.
const MAX_RESERVED_TOKENS: u64 = 1 << 32;
/// The usage of a request is stored shortly after its response. A request that is refused because of
/// requests in flight is therefore checked again, [`SETTLE_CHECKS`] times at this interval.
const SETTLE_INTERVAL: Duration = Duration::from_millis(40);
const SETTLE_CHECKS: u32 = 3;
/// How long requests are refused without a query after a limit was found to be used up.
const USED_UP_TTL: Duration = Duration::from_secs(1);
/// When a client may try again that waits for the end of its own requests.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// Reserves tokens and concurrency. Cheap to clone.
#[derive(Clone)]
pub(super) struct Admission(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    process: Uuid,
    /// Set once the database has a heartbeat of this process. Without it, reservations would not
    /// count.
    heartbeat: OnceCell<()>,
    /// The latest refusal of each user. Its lock is held while a request of the user is checked.
    users: Cache<UserId, Arc<Mutex<Option<Refusal>>>>,
}

/// A refusal, which applies to other requests of the same credential too.
#[derive(Clone, Copy)]
struct Refusal {
    /// When the check began.
    at: Instant,
    key: Option<CredentialId>,
    limits: ReservationLimits,
    exceeded: ExceededLimit,
}

impl Refusal {
    /// Whether a request that arrived at `arrived` would be refused for the same reason: it waited
    /// for this check, or the limit is used up until it resets.
    fn applies(&self, arrived: Instant, key: Option<CredentialId>, limits: &ReservationLimits, now: Timestamp) -> bool {
        let is_used_up = self.exceeded.resets_at.is_some_and(|at| at > now) && self.at.elapsed() < USED_UP_TTL;
        self.key == key && self.limits == *limits && (self.at >= arrived || is_used_up)
    }
}

/// Why a request has no reservation.
#[derive(Debug)]
pub(super) enum AdmissionError {
    /// A limit leaves no room for the request, at this time.
    Exceeded(ExceededLimit, Timestamp),
    /// The database returned no answer.
    Database(DbError),
    /// The check panicked.
    Defect,
}

/// Returns the tokens to reserve: those of the prompt, and the most that the response may have.
pub(super) fn reserved_tokens(operation: Operation, prompt: u64, max_output: Option<u64>) -> u64 {
    let output = match operation {
        Operation::Embed => 0,
        _ => max_output.unwrap_or(DEFAULT_OUTPUT_TOKENS),
    };
    prompt.saturating_add(output).min(MAX_RESERVED_TOKENS)
}

impl Admission {
    /// `process` identifies this process.
    pub(super) fn new(accounts: Accounts, process: Uuid) -> Self {
        let users = bucket_cache(BUCKETS_CAPACITY);
        Self(Arc::new(Inner { accounts, process, heartbeat: OnceCell::new(), users }))
    }

    /// Reserves `tokens` for a request, if the limits of its user and key have room for it.
    pub(super) async fn reserve(
        &self,
        principal: &Principal,
        usage: PendingUsage,
        tokens: u64,
    ) -> Result<PendingUsage, AdmissionError> {
        let key = match &principal.via {
            AuthMethod::Key { limits, .. } => Some(*limits),
            AuthMethod::Session { .. } => None,
        };
        let limits = ReservationLimits { user: principal.limits, key };
        if !limits.apply() {
            return Ok(usage);
        }
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        let (inner, user, key) = (Arc::clone(&self.0), principal.user_id, principal.credential_id());
        let reserving = async move { inner.reserve(user, key, usage, tokens, &limits).await };
        // In a task of its own: if the client leaves, the task still knows whether there is a
        // reservation, and the dropped result releases it.
        let reserved = tokio::spawn(reserving.in_current_span()).await.unwrap_or(Err(AdmissionError::Defect));
        reserved.inspect_err(|error| {
            if let AdmissionError::Exceeded(exceeded, _) = error {
                counter!("paddock_limits_exceeded_total", "limit" => subject(exceeded), "reason" => name(exceeded.kind))
                    .increment(1);
            }
        })
    }
}

impl Inner {
    async fn reserve(
        &self,
        user: UserId,
        key: Option<CredentialId>,
        mut usage: PendingUsage,
        tokens: i64,
        limits: &ReservationLimits,
    ) -> Result<PendingUsage, AdmissionError> {
        let beat = || async { with_db_timeout(self.accounts.usage().heartbeat(self.process)).await.map(|_| ()) };
        self.heartbeat.get_or_try_init(beat).await.map_err(AdmissionError::Database)?;
        let mut checks = 0;
        loop {
            let Some(exceeded) = self.check(user, key, &mut usage, tokens, limits).await? else { return Ok(usage) };
            if exceeded.resets_at.is_some() || checks == SETTLE_CHECKS {
                return Err(AdmissionError::Exceeded(exceeded, self.accounts.now()));
            }
            checks += 1;
            sleep(SETTLE_INTERVAL).await;
        }
    }

    /// Checks the request once, and reserves its tokens if there is room. Returns the exceeded
    /// limit otherwise.
    async fn check(
        &self,
        user: UserId,
        key: Option<CredentialId>,
        usage: &mut PendingUsage,
        tokens: i64,
        limits: &ReservationLimits,
    ) -> Result<Option<ExceededLimit>, AdmissionError> {
        let arrived = Instant::now();
        let latest = self.users.get_with(user, Arc::default);
        let mut latest = latest.lock().await;
        let shared = latest.filter(|refusal| refusal.applies(arrived, key, limits, self.accounts.now()));
        if let Some(refusal) = shared {
            return Ok(Some(refusal.exceeded));
        }
        let at = Instant::now();
        let Some(record) = usage.reserving() else { return Err(AdmissionError::Defect) };
        let reserved = with_db_timeout(self.accounts.usage().reserve(self.process, record, tokens, limits)).await;
        let Err(exceeded) = reserved.map_err(AdmissionError::Database)? else { return Ok(None) };
        usage.set_unreserved();
        *latest = Some(Refusal { at, key, limits: *limits, exceeded });
        Ok(Some(exceeded))
    }
}

const fn subject(exceeded: &ExceededLimit) -> &'static str {
    if exceeded.is_of_key { "key" } else { "user" }
}

/// The name of the limit: the code of the error, and the reason in log and metrics.
const fn name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::TokensPerMinute => "tokens_per_minute",
        LimitKind::TokensPerDay => "tokens_per_day",
        LimitKind::TokensPerMonth => "tokens_per_month",
        LimitKind::MaxConcurrent => "max_concurrent",
    }
}

fn message(exceeded: &ExceededLimit) -> String {
    let ExceededLimit { kind, limit, resets_at, .. } = *exceeded;
    let (subject, name) = (subject(exceeded), name(kind));
    if limit == 0 {
        return format!("this {subject} may run no model: its {name} is 0");
    }
    let period = match kind {
        LimitKind::TokensPerMinute => "minute",
        LimitKind::TokensPerDay => "day",
        LimitKind::TokensPerMonth => "month",
        LimitKind::MaxConcurrent => {
            return format!("this {subject} may have {limit} requests in flight at once; wait for one to end ({name})");
        }
    };
    let state = if resets_at.is_some() { "they are used up" } else { "its requests in flight have reserved the rest" };
    format!("this {subject} may use {limit} tokens per UTC {period}, and {state} ({name})")
}

impl From<AdmissionError> for ApiError {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::Exceeded(exceeded, now) => {
                let wait = exceeded.resets_at.map_or(IN_FLIGHT_RETRY, |at| at.since(now));
                Self::new(Kind::RateLimited, message(&exceeded))
                    .with_code(name(exceeded.kind))
                    .with_retry_after(wait.max(IN_FLIGHT_RETRY))
            }
            AdmissionError::Database(error) => error.into(),
            AdmissionError::Defect => Self::internal(),
        }
    }
}
