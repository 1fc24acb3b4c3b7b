//! The connection to the Redis that counts requests for all replicas.
//!
//! No request waits for an unavailable Redis. The first request without a reply in time takes the
//! connection out of use. From then on the process counts in memory, until a background probe finds
//! that the Redis counts again.

use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::RwLock;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, RedisResult, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{sleep, timeout};

use super::{
    bucket::{BucketRequest, CountedRequest},
    script::RedisScript,
};
use crate::readiness::Readiness;

/// How long a request waits for the Redis.
const COUNT_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a connection attempt, or a probe of an open connection, may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Why the Redis did not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("there is no connection to Redis")]
    Away,
    #[error("Redis did not respond within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error(transparent)]
    Failed(#[from] RedisError),
}

impl Failure {
    /// The value of the metric label `reason`.
    const fn text(&self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Slow(_) => "slow",
            Self::Failed(_) => "failed",
        }
    }
}

/// A connection with a serial number, so that a late failure of an old connection does not discard
/// its successor.
#[derive(Clone)]
struct NumberedConnection {
    number: u64,
    connection: MultiplexedConnection,
}

/// The state of the link to the Redis.
#[derive(Default)]
struct LinkState {
    /// The connection in use. `None` while the Redis does not count.
    current: Option<NumberedConnection>,
    /// How many connections were opened so far.
    connected: u64,
    /// The availability that was logged last.
    logged: Option<bool>,
}

/// Counts requests in a Redis that all replicas share.
pub(crate) struct RedisLimiter {
    client: Client,
    script: RedisScript,
    state: RwLock<LinkState>,
    readiness: Readiness,
}

impl RedisLimiter {
    /// Prepares the client, without a connection yet. Fails if the URL is not a Redis URL.
    /// `readiness` is told whether the Redis counts.
    pub(crate) fn new(url: &SecretString, readiness: Readiness) -> RedisResult<Self> {
        let info = url.expose_secret().into_connection_info()?;
        // Requests share the connection. Without TCP_NODELAY, a request would wait for the
        // acknowledgement of another request.
        let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
        Ok(Self { client, script: RedisScript::default(), state: RwLock::default(), readiness })
    }

    /// Counts a request. On failure the caller counts it in memory.
    pub(crate) async fn count(&self, requests: &[BucketRequest]) -> Result<CountedRequest, Failure> {
        let counted = match self.current() {
            None => Err(Failure::Away),
            Some(mut used) => {
                let reply = within(COUNT_TIMEOUT, self.script.count(&mut used.connection, requests)).await;
                reply.inspect_err(|failure| self.discard(&used, failure)).map(|reply| reply.counted(requests))
            }
        };
        counted.inspect_err(|failure| {
            counter!("paddock_shared_limits_fallbacks_total", "reason" => failure.text()).increment(1);
        })
    }

    /// Returns a request that the Redis has counted. After a failure the request stays counted.
    pub(crate) async fn refund(&self, requests: &[BucketRequest]) {
        let Some(mut used) = self.current() else { return };
        let refunded = within(COUNT_TIMEOUT, self.script.refund(&mut used.connection, requests)).await;
        let _ = refunded.inspect_err(|failure| self.discard(&used, failure));
    }

    /// Checks once whether the Redis counts, and connects to it if there is no connection.
    pub(crate) async fn probe(&self) {
        match self.current() {
            Some(mut used) => {
                if let Err(failure) = within(PROBE_TIMEOUT, self.script.probe(&mut used.connection)).await {
                    self.discard(&used, &failure);
                }
            }
            None => match self.connect().await {
                Ok(connection) => self.adopt(connection),
                Err(failure) => self.report(&mut self.state.write(), Err(&failure)),
            },
        }
    }

    /// Probes at every interval. Never returns.
    pub(crate) async fn run_probes(&self) {
        loop {
            sleep(PROBE_INTERVAL).await;
            self.probe().await;
        }
    }

    /// Connects, and checks that the Redis counts within the time of a request.
    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        // This module has its own timeouts.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = within(PROBE_TIMEOUT, async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            self.script.load(&mut connection).await?;
            Ok(connection)
        })
        .await?;
        within(COUNT_TIMEOUT, self.script.probe(&mut connection)).await?;
        Ok(connection)
    }

    fn current(&self) -> Option<NumberedConnection> {
        self.state.read().current.clone()
    }

    /// Sets a new connection as the current connection.
    fn adopt(&self, connection: MultiplexedConnection) {
        let mut state = self.state.write();
        state.connected += 1;
        state.current = Some(NumberedConnection { number: state.connected, connection });
        self.report(&mut state, Ok(()));
    }

    /// Removes a failed connection, unless a new connection has replaced it.
    fn discard(&self, used: &NumberedConnection, failure: &Failure) {
        let mut state = self.state.write();
        if state.current.as_ref().is_some_and(|current| current.number == used.number) {
            state.current = None;
            self.report(&mut state, Err(failure));
        }
    }

    /// Reports whether the Redis counts. Always updates readiness and metrics; logs only a change.
    fn report(&self, state: &mut LinkState, result: Result<(), &Failure>) {
        let is_counting = result.is_ok();
        self.readiness.set_limits_shared(is_counting);
        gauge!("paddock_shared_limits_available").set(f64::from(u8::from(is_counting)));
        if state.logged.replace(is_counting) == Some(is_counting) {
            return;
        }
        match result {
            Ok(()) => tracing::info!("this process counts requests in Redis"),
            Err(error) => {
                tracing::warn!(%error, "cannot count requests in Redis; this process counts in memory");
            }
        }
    }
}

/// Awaits a reply of the Redis for at most `limit`.
async fn within<T>(limit: Duration, reply: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    match timeout(limit, reply).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(Failure::Slow(limit)),
    }
}
