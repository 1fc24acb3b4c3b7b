//! Many parallel streams against a small budget of tokens, on two replicas.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Caller, Paddock, fetch_json},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    frame::Order,
    plan::Plan,
    setup::{Cores, launch_with_log, start_upstream},
    stream_load::StreamLoad,
    verdict::{Bound, Target},
};

const STREAMS_PER_REPLICA: u64 = 100;
/// Tokens of each answer. The fake upstream counts 31 tokens of prompt.
const ANSWER_TOKENS: u64 = 100;
const RESERVATION: u64 = ANSWER_TOKENS + 31;
const BUDGET: u64 = RESERVATION * 10;
const USED: &str = "SELECT CAST(coalesce(sum(prompt_tokens + completion_tokens), 0) AS text) FROM usage";
const OPEN: &str = "SELECT CAST(count(*) AS text) FROM usage_open";
/// So long that no estimate of its tokens is below the 31 that the fake upstream counts.
const PROMPT_BYTES: usize = 400;

/// The figures of this section, in tokens.
#[derive(Serialize)]
pub(crate) struct Budget {
    limit: u64,
    admitted: u64,
    refused: u64,
    failed: u64,
    used: u64,
    overshoot: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Budget> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Postgres).await?;
    let launch = || anyhow::Ok(launch_with_log(database.url())?.ollama(&upstream.url).with_prefix(&cores.proxy));
    let (first, admin) = Paddock::seeded(launch()?).await?;
    let second = launch()?.start().await?;
    let key = limited_key(&admin).await?;
    let load = |paddock: &Paddock| StreamLoad {
        order: Order { frames: ANSWER_TOKENS, interval_us: 10_000, ..Order::default() },
        prompt_bytes: PROMPT_BYTES,
        ramp: Duration::from_millis(1),
        ..StreamLoad::requests(
            paddock.url(),
            std::slice::from_ref(&key),
            STREAMS_PER_REPLICA,
            plan.length * 2,
            Duration::ZERO,
        )
        .for_length(plan.length)
    };
    let (first_load, second_load) = (load(&first), load(&second));
    let (one, two) = tokio::try_join!(first_load.run(&cores.load), second_load.run(&cores.load))?;
    ensure!(one.streams + two.streams > 0, "no stream was admitted: {one:?}, {two:?}");
    let used = used(&database, one.streams + two.streams).await?;
    Ok(Budget {
        limit: BUDGET,
        admitted: one.streams + two.streams,
        refused: one.refused + two.refused,
        failed: one.failed + two.failed,
        used,
        overshoot: used.saturating_sub(BUDGET),
    })
}

/// A key with the budget.
async fn limited_key(admin: &Caller) -> Result<String> {
    let user = admin.create_user(json!({"roles": ["user"]})).await?;
    let limits = json!({"limits": {"tokens_per_day": BUDGET}});
    let (id, key) = admin.create_key(user, limits).await?;
    let stored = fetch_json(admin.get(&format!("/credentials/{id}"))).await?;
    ensure!(stored["limits"]["tokens_per_day"] == BUDGET, "{stored}");
    Ok(key.key().to_owned())
}

/// The tokens of all usage records, once every admitted stream has its record.
async fn used(database: &Database, streams: u64) -> Result<u64> {
    let number = async |query| {
        let texts = database.texts(query).await?;
        anyhow::Ok(texts.first().context("a row")?.parse::<u64>()?)
    };
    eventually("the usage of every stream", Duration::from_secs(30), async || {
        let (open, used) = (number(OPEN).await?, number(USED).await?);
        ensure!(open == 0 && used >= streams * RESERVATION, "{open} open, {used} tokens of {streams} streams");
        Ok(used)
    })
    .await
}

impl Budget {
    pub(crate) fn targets(&self) -> Vec<Target> {
        #[expect(clippy::cast_precision_loss, reason = "a count of tokens fits")]
        let (overshoot, reservation) = (self.overshoot as f64, RESERVATION as f64);
        vec![Target::new(
            "overshoot of a token budget, 200 parallel streams, 2 replicas",
            "tokens",
            overshoot,
            Bound::AtMost(reservation),
            Bound::AtMost(0.0),
        )]
    }

    pub(crate) fn markdown(&self) -> String {
        format!(
            "## Budget\n\n{} streams at once on two replicas, with a key of {} tokens per day; each stream takes {RESERVATION}. {} were \
             admitted, {} refused, {} failed. They used {} tokens: {} more than the budget.\n",
            STREAMS_PER_REPLICA * 2,
            self.limit,
            self.admitted,
            self.refused,
            self.failed,
            self.used,
            self.overshoot
        )
    }
}
