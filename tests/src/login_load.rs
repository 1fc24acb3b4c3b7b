//! Many sign-ins at one moment, and their effect on `/healthz` and on memory.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::paddock::{Bootstrap, Paddock};

/// The measurements of one burst of sign-ins.
#[derive(Debug)]
pub struct LoginLoad {
    /// The number of sign-ins by status.
    pub answers: BTreeMap<StatusCode, usize>,
    /// The number of answers with 429 or 503 and no `Retry-After`.
    pub without_retry_after: usize,
    /// The latency of each `GET /healthz` during the burst, sent one after the other.
    pub health: Vec<Duration>,
    /// Peak memory minus memory before the burst, in KiB.
    pub growth_kib: u64,
}

/// Sends `count` sign-ins at once, each over its own connection.
pub async fn sign_in_at_once(paddock: &Paddock, admin: &Bootstrap, count: usize) -> Result<LoginLoad> {
    let client = Client::new();
    let before = paddock.process().memory_kib("VmRSS")?;
    let done = CancellationToken::new();
    let (answers, health) = tokio::join!(
        async {
            let answers = join_all((0..count).map(|_| sign_in(&client, paddock, admin))).await;
            done.cancel();
            answers
        },
        poll_health(paddock, &done),
    );
    let mut load = LoginLoad {
        answers: BTreeMap::new(),
        without_retry_after: 0,
        health: health?,
        growth_kib: paddock.process().memory_kib("VmHWM")?.saturating_sub(before),
    };
    for answer in answers {
        let (status, has_retry_after) = answer?;
        *load.answers.entry(status).or_default() += 1;
        let is_refused = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        load.without_retry_after += usize::from(is_refused && !has_retry_after);
    }
    Ok(load)
}

/// Signs in once: the status, and whether the answer has a `Retry-After`.
async fn sign_in(client: &Client, paddock: &Paddock, admin: &Bootstrap) -> Result<(StatusCode, bool)> {
    let body = json!({"username": admin.email, "password": admin.password});
    let answer = client.post(format!("{}/auth/login", paddock.url())).json(&body).send().await?;
    Ok((answer.status(), answer.headers().contains_key("retry-after")))
}

async fn poll_health(paddock: &Paddock, done: &CancellationToken) -> Result<Vec<Duration>> {
    let (client, mut latencies) = (Client::new(), Vec::new());
    let health = format!("{}/healthz", paddock.url());
    while !done.is_cancelled() {
        let began = Instant::now();
        client.get(&health).send().await?.error_for_status()?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}
