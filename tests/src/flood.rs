//! Many sign-ins at one moment, and what becomes of everything else meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::paddock::{Bootstrap, Paddock};

/// What came of a flood.
#[derive(Debug)]
pub struct Flood {
    /// How many sign-ins got each status.
    pub answers: BTreeMap<StatusCode, usize>,
    /// Refusals, 429 and 503, that did not say when to come back.
    pub without_retry_after: usize,
    /// What each `GET /healthz` took that was sent meanwhile, one after the other.
    pub health: Vec<Duration>,
    /// By how many KiB the process has ever been larger than it was before.
    pub growth_kib: u64,
}

/// Sends `count` sign-ins at once, each over a connection of its own.
pub async fn sign_ins(paddock: &Paddock, admin: &Bootstrap, count: usize) -> Result<Flood> {
    let client = Client::new();
    let before = paddock.process().memory_kib("VmRSS")?;
    let over = CancellationToken::new();
    let (answers, health) = tokio::join!(
        async {
            let answers = join_all((0..count).map(|_| sign_in(&client, paddock, admin))).await;
            over.cancel();
            answers
        },
        ask_for_health(paddock, &over),
    );
    let mut flood = Flood {
        answers: BTreeMap::new(),
        without_retry_after: 0,
        health: health?,
        growth_kib: paddock.process().memory_kib("VmHWM")?.saturating_sub(before),
    };
    for answer in answers {
        let (status, says_when) = answer?;
        *flood.answers.entry(status).or_default() += 1;
        let refused = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        flood.without_retry_after += usize::from(refused && !says_when);
    }
    Ok(flood)
}

/// The status of the answer, and whether it says when to come back.
async fn sign_in(client: &Client, paddock: &Paddock, admin: &Bootstrap) -> Result<(StatusCode, bool)> {
    let body = json!({"username": admin.email, "password": admin.password});
    let answer = client.post(format!("{}/auth/login", paddock.url())).json(&body).send().await?;
    Ok((answer.status(), answer.headers().contains_key("retry-after")))
}

async fn ask_for_health(paddock: &Paddock, over: &CancellationToken) -> Result<Vec<Duration>> {
    let (client, mut each) = (Client::new(), Vec::new());
    let health = format!("{}/healthz", paddock.url());
    while !over.is_cancelled() {
        let began = Instant::now();
        client.get(&health).send().await?.error_for_status()?;
        each.push(began.elapsed());
    }
    Ok(each)
}
