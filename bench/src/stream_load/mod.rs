//! The load generator of streams: many clients that begin streams at scheduled times and check every
//! frame.
//!
//! It handles coordinated omission: a time is measured from the moment at which the request or the
//! frame should have been sent. A client that is late because its last stream was slow counts this
//! delay too.
//!
//! It runs as a process of its own with one thread, which is pinned to a core.

mod connection;
mod sleep;
mod tally;

use std::{
    process::Command,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use paddock_tests::process::run;
use serde::{Deserialize, Serialize};

use crate::{
    clock::now_ns,
    frame::{Dialect, Order},
    setup::own_command,
};
use connection::Connection;
use sleep::Alarm;
use tally::Tally;
pub(crate) use tally::{FrameErrors, Summary};

/// How long a stream may go on after the end of the load.
const GRACE: Duration = Duration::from_secs(12);

/// A load of streams.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StreamLoad {
    /// The server, `host:port`.
    pub(crate) address: String,
    /// The clients use these keys in turn.
    pub(crate) keys: Vec<String>,
    pub(crate) dialect: Dialect,
    /// The number of clients. Each has one stream at a time and its own connection.
    pub(crate) clients: u64,
    /// What each stream asks for.
    pub(crate) order: Order,
    /// The bytes of each prompt.
    pub(crate) prompt_bytes: usize,
    /// The clients begin one after the other during this time.
    pub(crate) ramp: Duration,
    /// Each client begins a stream per period.
    pub(crate) period: Duration,
    /// No stream is scheduled after this time.
    pub(crate) length: Duration,
    /// Streams that begin before this time are checked, but their times are not recorded.
    pub(crate) warm_up: Duration,
}

impl StreamLoad {
    /// `clients` that always have one stream of `rate` frames per second open, each of which lasts
    /// about `period`. Records the times after the first period.
    pub(crate) fn steady(url: &str, key: &str, dialect: Dialect, clients: u64, rate: u64, period: Duration) -> Self {
        let interval_us = 1_000_000 / rate.max(1);
        let period_us = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        // The last frame comes two intervals before the next stream begins.
        let frames = (period_us / interval_us).saturating_sub(1).max(2);
        Self {
            address: url.trim_start_matches("http://").to_owned(),
            keys: vec![key.to_owned()],
            dialect,
            clients,
            order: Order { frames, interval_us, ..Order::default() },
            prompt_bytes: 0,
            ramp: period,
            period,
            length: period * 3,
            warm_up: period,
        }
    }

    /// `clients` that each send a request per `period`, which is answered after `delay` with one
    /// frame. A client whose answer takes longer than the period sends the next request at once.
    pub(crate) fn requests(url: &str, keys: &[String], clients: u64, period: Duration, delay: Duration) -> Self {
        let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        Self {
            keys: keys.to_vec(),
            order: Order { frames: 1, delay_us, ..Order::default() },
            warm_up: Duration::ZERO,
            ..Self::steady(url, "", Dialect::Native, clients, 1, period)
        }
    }

    /// The same load for another length.
    pub(crate) fn for_length(self, length: Duration) -> Self {
        Self { length, ..self }
    }

    /// Runs the load in a process of its own, started through a command such as `taskset -c 0`.
    pub(crate) async fn run(&self, prefix: &[String]) -> Result<Summary> {
        let mut command: Command = own_command(prefix)?;
        command.arg("stream-load").arg(serde_json::to_string(self)?);
        let output = tokio::task::spawn_blocking(move || run(&mut command)).await??;
        serde_json::from_str(&output).with_context(|| output.clone())
    }

    /// Runs the load in this process, which has a runtime of its own.
    pub(crate) fn run_here(self) -> Result<Summary> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let alarm = Alarm::start()?;
            let tally = Arc::new(Mutex::new(Tally::new()?));
            // Every client has begun to wait before the first one must send.
            let began_ns = now_ns() + 50_000_000;
            let load = Rc::new(self);
            let clients = (0..load.clients).map(|number| {
                let client = Client {
                    load: Rc::clone(&load),
                    alarm: alarm.clone(),
                    tally: Arc::clone(&tally),
                    number,
                    began_ns,
                    connection: None,
                };
                client.run()
            });
            join_all(clients).await;
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(tally.summary(load.length.saturating_sub(load.warm_up)))
        })
    }
}

/// One client.
struct Client {
    load: Rc<StreamLoad>,
    alarm: Alarm,
    tally: Arc<Mutex<Tally>>,
    number: u64,
    began_ns: u64,
    connection: Option<Connection>,
}

impl Client {
    async fn run(mut self) {
        let load = Rc::clone(&self.load);
        let key = load.keys.get(usize::try_from(self.number).unwrap_or(0) % load.keys.len().max(1));
        let key = key.cloned().unwrap_or_default();
        let first = self.began_ns + nanoseconds(load.ramp) * self.number / load.clients.max(1);
        let end = self.began_ns + nanoseconds(load.length);
        for turn in 0.. {
            let intended = first + nanoseconds(load.period) * turn;
            // A client that is late must not go on after the end either.
            let start = intended.max(now_ns());
            // On a machine so busy that the warm-up outlasts the load, a client still has a stream
            // after it.
            if intended >= end || (start >= end && turn > 1) {
                break;
            }
            self.alarm.until(intended).await;
            let is_recorded = start >= self.began_ns + nanoseconds(load.warm_up);
            let order = Order { stream: self.number + turn * load.clients, ..load.order };
            let left = Duration::from_nanos(end.saturating_sub(now_ns())) + GRACE;
            let outcome = tokio::time::timeout(left, self.stream(&key, order, intended, is_recorded)).await;
            if !matches!(outcome, Ok(Ok(()))) {
                self.connection = None;
            }
        }
    }

    /// Runs one stream. Errors: the connection broke.
    async fn stream(&mut self, key: &str, order: Order, intended: u64, is_recorded: bool) -> Result<()> {
        let mut check = tally::Check::new(Arc::clone(&self.tally), self.load.dialect, order, intended, is_recorded);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.load.address).await?),
        };
        let body = order.body(self.load.dialect, self.load.prompt_bytes);
        let head = connection.send(self.load.dialect.path(), key, &body).await?;
        if head.status == 200 {
            check.accepted();
        } else {
            check.refused(head.status);
        }
        while let Some((chunk, received_ns)) = connection.next_chunk().await? {
            if head.status == 200 {
                check.chunk(&chunk, received_ns);
            }
        }
        check.finish();
        if head.is_last {
            self.connection = None;
        }
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
