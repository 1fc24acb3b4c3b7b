//! What every handler can reach.

use std::{ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;
use paddock_accounts::{Accounts, Error};
use tokio::time::timeout;

use crate::{
    cors::Origins,
    gateway::Gateway,
    limits::{Limits, guesses::Guesses},
    proxies::Proxies,
    readiness::Readiness,
    routes::cookie::Cookies,
};

/// How long a request waits for the database, all in all, before the database counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_millis(4_500);

/// The parts of a running API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) accounts: Accounts,
    pub(crate) gateway: Gateway,
    pub(crate) limits: Limits,
    pub(crate) guesses: Guesses,
    pub(crate) proxies: Proxies,
    pub(crate) origins: Origins,
    pub(crate) readiness: Readiness,
    pub(crate) cookies: Cookies,
    /// Whether only requests for this machine are answered.
    pub(crate) only_local_hosts: bool,
    /// The OpenAPI document, as it is sent.
    pub(crate) openapi: Bytes,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// Why the database was not heard.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It took too long: it hangs, or is cut off.
    TooLong,
    /// It, or the rules above it, answered with an error.
    Error(Error),
}

/// Waits for an answer of `accounts`, but no longer than a client should wait for a database that is not there.
pub(crate) async fn ask<T, E: Into<Error>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Unanswered> {
    match timeout(DATABASE_PATIENCE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Unanswered::Error(error.into())),
        Err(_) => Err(Unanswered::TooLong),
    }
}
