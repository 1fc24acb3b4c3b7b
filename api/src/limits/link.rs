//! The way to the Redis that counts for all replicas.
//!
//! Nobody waits for one that is away: the first request that it does not answer in time takes the connection out of use, and from
//! then on the process counts by itself, until a look in the background finds that the Redis counts again.

use std::{
    sync::{PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};

use metrics::{counter, gauge};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, RedisResult, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{sleep, timeout};

use super::{Draw, Owner, Shared, Standing};
use crate::readiness::Readiness;

/// How long a request waits for the Redis.
const DEADLINE: Duration = Duration::from_millis(100);
/// How long it may take to connect to it, and to say that it is still there where nobody waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Why the Redis did not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("there is no connection to it")]
    Away,
    #[error("it did not answer within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error(transparent)]
    Failed(#[from] RedisError),
}

impl Failure {
    /// A word for metric labels.
    const fn text(&self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Slow(_) => "slow",
            Self::Failed(_) => "failed",
        }
    }
}

/// A connection, numbered, so that what is heard of an old one says nothing of the next.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

/// What is known of the Redis.
#[derive(Default)]
struct Known {
    /// The connection to use, while it counts.
    current: Option<Numbered>,
    /// How many there have been.
    connected: u64,
    /// Whether it was said to count, once anything was said.
    told: Option<bool>,
}

/// A way to a Redis, which may be blocked.
pub(crate) struct Link {
    client: Client,
    shared: Shared,
    known: RwLock<Known>,
    readiness: Readiness,
}

impl Link {
    /// To the Redis at this URL. It is not asked yet. While it does not count, readiness says so.
    pub(crate) fn new(url: &SecretString, readiness: Readiness) -> RedisResult<Self> {
        let info = url.expose_secret().into_connection_info()?;
        // Requests share the connection, and none of them should wait for another's acknowledgement.
        let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
        Ok(Self { client, shared: Shared::default(), known: RwLock::default(), readiness })
    }

    /// Counts a request there. Where that fails it is for the process to count it.
    pub(crate) async fn count(&self, draws: &[Draw]) -> Result<Option<(Owner, Standing)>, Failure> {
        let counted = match self.current() {
            None => Err(Failure::Away),
            Some(mut used) => {
                let counted = within(DEADLINE, self.shared.count(&mut used.connection, draws)).await;
                counted.inspect_err(|failure| self.lost(&used, failure)).map(|answer| answer.telling(draws))
            }
        };
        counted.inspect_err(|failure| {
            counter!("paddock_shared_limits_fallbacks_total", "reason" => failure.text()).increment(1);
        })
    }

    /// Looks once whether it counts, and connects to it if need be.
    pub(crate) async fn look(&self) {
        match self.current() {
            Some(mut used) => {
                if let Err(failure) = within(PATIENCE, self.shared.probe(&mut used.connection)).await {
                    self.lost(&used, &failure);
                }
            }
            None => match self.connect().await {
                Ok(connection) => self.found(connection),
                Err(failure) => self.tell(&mut self.change(), Err(&failure)),
            },
        }
    }

    /// Keeps looking.
    pub(crate) async fn watch(&self) {
        loop {
            sleep(EVERY).await;
            self.look().await;
        }
    }

    /// A connection to a Redis that counts, and in time.
    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        // Times are kept here.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = within(PATIENCE, async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            self.shared.load(&mut connection).await?;
            Ok(connection)
        })
        .await?;
        within(DEADLINE, self.shared.probe(&mut connection)).await?;
        Ok(connection)
    }

    fn current(&self) -> Option<Numbered> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    fn change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, connection: MultiplexedConnection) {
        let mut known = self.change();
        known.connected += 1;
        known.current = Some(Numbered { number: known.connected, connection });
        self.tell(&mut known, Ok(()));
    }

    /// Takes a connection out of use that failed.
    fn lost(&self, used: &Numbered, failure: &Failure) {
        let mut known = self.change();
        if known.current.as_ref().is_some_and(|current| current.number == used.number) {
            known.current = None;
            self.tell(&mut known, Err(failure));
        }
    }

    /// Tells whether it counts: readiness and metrics always, the log when that changes.
    fn tell(&self, known: &mut Known, counts: Result<(), &Failure>) {
        self.readiness.limits(counts.is_ok());
        gauge!("paddock_shared_limits_available").set(f64::from(u8::from(counts.is_ok())));
        if known.told.replace(counts.is_ok()) == Some(counts.is_ok()) {
            return;
        }
        match counts {
            Ok(()) => tracing::info!("Redis counts the requests of all replicas"),
            Err(error) => {
                tracing::warn!(%error, "Redis does not count: until it does, this process counts requests by itself");
            }
        }
    }
}

/// What the Redis answers in time.
async fn within<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    match timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Slow(limit)),
    }
}
