//! The operator is killed at random moments while keys rotate all the time and clients use them.

#![expect(clippy::print_stdout, reason = "figures, shown with --nocapture")]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_crds::{ApiKey, ApiUser, annotation, data};
use paddock_tests::{
    eventually::eventually,
    fake_ollama::FakeOllama,
    paddock::Paddock,
    process::Signal,
    random::random_below,
    story::{soak_or, story},
};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT, leaks::DeliveredKeys};

/// The keys, each with the grace period of its replaced versions. Without one, a version ends in the
/// moment in which the next one is active.
const KEYS: [(&str, &str); 3] = [("patient", "24h"), ("short", "5s"), ("none", "0s")];
/// The longest time from a start to the next kill. A rotation takes some 100 ms on an idle machine.
const MAX_LIFE_MS: u64 = 3_000;
/// The longest time of a rotation. On a busy machine many operators die before they complete it.
const ROTATION_TIMEOUT: Duration = Duration::from_mins(5);

/// What the clients and the rotations have done so far.
#[derive(Default)]
struct Counts {
    is_over: AtomicBool,
    accepted: AtomicU64,
    /// Refused, with a key that the Secret no longer held when it was refused.
    outdated: AtomicU64,
    rotations: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Requests one rotation after the other.
async fn rotate(cluster: &ClusterFixture, name: &str, grace: &str, counts: &Counts) -> Result<()> {
    for number in 0.. {
        if counts.is_over() {
            break;
        }
        let value = number.to_string();
        let request = json!({"metadata": {"annotations": {
            annotation::ROTATE_REQUESTED_AT: value, annotation::ROTATE_GRACE: grace,
        }}});
        cluster.merge_patch::<ApiKey>(name, request).await?;
        eventually("the rotation", ROTATION_TIMEOUT, async || {
            let status = cluster.api::<ApiKey>().get(name).await?.status.context("a status")?;
            ensure!(status.last_handled_rotate_at.as_ref() == Some(&value), "{:?}", status.last_handled_rotate_at);
            Ok(())
        })
        .await?;
        Counts::add(&counts.rotations);
    }
    Ok(())
}

/// Uses the key of a Secret as a client does that reads the Secret before each request. Fails if a
/// key is refused that the Secret holds.
async fn use_key(cluster: &ClusterFixture, gateway: &Paddock, name: &str, counts: &Counts) -> Result<()> {
    let secret = format!("{name}-apikey");
    while !counts.is_over() {
        let key = cluster.secret_data(&secret).await?[data::API_KEY].clone();
        let status = gateway.caller(&key).get("/api/tags").send().await?.status();
        if status == 200 {
            Counts::add(&counts.accepted);
            continue;
        }
        ensure!(status == 401, "{name}: {status}");
        let present = cluster.secret_data(&secret).await?[data::API_KEY].clone();
        ensure!(present != key, "{name}: the key in the Secret is refused");
        Counts::add(&counts.outdated);
    }
    Ok(())
}

/// Kills the operator again and again, and returns the last one, which lives on.
async fn kill_at_random(cluster: &ClusterFixture, kills: u32, counts: &Counts) -> Result<Paddock> {
    for _ in 0..kills {
        let operator = cluster.start_operator().await?;
        tokio::time::sleep(Duration::from_millis(random_below(MAX_LIFE_MS))).await;
        operator.process().signal(Signal::Kill)?;
        operator.process().wait_for_exit(EVENT_TIMEOUT).await?;
    }
    let operator = cluster.start_operator().await;
    counts.is_over.store(true, Ordering::Relaxed);
    operator
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_of_a_secret_is_refused_while_operators_die_and_keys_rotate() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let ollama = FakeOllama::start(&["smollm2:135m"]).await?;
        let gateway = cluster.launch_with(&["api"])?.ollama(&ollama.url()).start().await?;
        let delivered = DeliveredKeys::watch(&cluster);
        let operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        for (name, _) in KEYS {
            cluster.create::<ApiKey>(name, json!({"userRef": {"name": "ada"}})).await?;
            cluster.wait_until_consistent(name).await?;
        }
        drop(operator);

        let counts = Counts::default();
        let all = KEYS.map(|(name, grace)| {
            let (cluster, gateway, counts) = (&cluster, &gateway, &counts);
            async move {
                tokio::try_join!(
                    rotate(cluster, name, grace, counts),
                    use_key(cluster, gateway, name, counts),
                    use_key(cluster, gateway, name, counts),
                )
            }
        });
        let (last, _) = tokio::try_join!(
            kill_at_random(&cluster, soak_or(100, 6), &counts),
            futures_util::future::try_join_all(all),
        )?;
        for (name, _) in KEYS {
            cluster.wait_until_consistent(name).await?;
        }
        cluster.wait_until_nothing_leaks(&delivered).await?;
        drop(last);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (accepted, outdated, rotations) = (of(&counts.accepted), of(&counts.outdated), of(&counts.rotations));
        println!(
            "{rotations} rotations, {accepted} requests accepted, {outdated} with a key that was replaced meanwhile"
        );
        ensure!(rotations >= 3 && accepted > 0, "{rotations} rotations, {accepted} requests");
        Ok(())
    })
    .await;
}
