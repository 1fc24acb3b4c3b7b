//! The three writes that issue and rotate a key: the operator is killed at each of the six fail
//! points around them, and two leaders that do not know of each other are interleaved there.

use anyhow::{Context as _, Result, ensure};
use paddock_crds::{ApiKey, annotation, data};
use paddock_tests::{
    eventually::eventually,
    paddock::Paddock,
    process::Signal,
    reaper,
    story::{soak_or, story},
};
use serde_json::{Value, json};

use super::{ClusterFixture, EVENT_TIMEOUT};

const POINTS: [&str; 6] =
    ["before-stage", "after-stage", "before-secret", "after-secret", "before-activate", "after-activate"];

/// The number of times that each fail point is tried.
fn rounds() -> usize {
    soak_or(20, 1)
}

fn rotate(value: &str) -> Value {
    json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: value}}})
}

/// Starts an operator that aborts at the fail point.
fn start_aborting(cluster: &ClusterFixture, point: &str) -> Result<Paddock> {
    cluster.launch()?.env("PADDOCK_FAILPOINT", &format!("{point}=abort")).spawn()
}

/// Waits until the operator has aborted.
async fn wait_for_abort(operator: &Paddock) -> Result<()> {
    let status = operator.process().wait_for_exit(EVENT_TIMEOUT).await?;
    ensure!(status.code().is_none(), "it ended by itself: {status}");
    Ok(())
}

async fn count(cluster: &ClusterFixture, event_type: &str) -> Result<usize> {
    Ok(cluster.audit_events().await?.iter().filter(|event| *event == event_type).count())
}

#[tokio::test]
async fn issuing_survives_a_crash_at_every_point() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        drop(operator);
        for round in 0..rounds() {
            for point in POINTS {
                let issued = count(&cluster, "api_key_issued").await?;
                let name = format!("{point}-{round}");
                cluster.create::<ApiKey>(&name, json!({"userRef": {"name": "ada"}})).await?;
                wait_for_abort(&start_aborting(&cluster, point)?).await.context(point)?;
                let operator = cluster.start_operator().await?;
                cluster.wait_until_consistent(&name).await.context(point)?;
                assert_eq!(count(&cluster, "api_key_issued").await?, issued + 1, "{point}");
                drop(operator);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn rotating_survives_a_crash_at_every_point() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let mut before = cluster.wait_until_consistent("ada").await?;
        drop(operator);
        for round in 0..rounds() {
            for point in POINTS {
                let rotated = count(&cluster, "api_key_rotated").await?;
                let old = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();
                let request = format!("{point}-{round}");
                cluster.merge_patch::<ApiKey>("ada", rotate(&request)).await?;
                wait_for_abort(&start_aborting(&cluster, point)?).await.context(point)?;
                // The key that pods hold and the key in the Secret are both accepted.
                cluster.assert_accepted(&old).await.context(point)?;
                cluster
                    .assert_accepted(&cluster.secret_data("ada-apikey").await?[data::API_KEY])
                    .await
                    .context(point)?;
                let operator = cluster.start_operator().await?;
                before = wait_for_rotation(&cluster, &before, &request).await.context(point)?;
                cluster.assert_accepted(&old).await.context(point)?;
                assert_eq!(count(&cluster, "api_key_rotated").await?, rotated + 1, "{point}");
                drop(operator);
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until the key is consistent and another one than before, and its status has handled the
/// request.
async fn wait_for_rotation(cluster: &ClusterFixture, before: &str, request: &str) -> Result<String> {
    eventually("another version", EVENT_TIMEOUT, async || {
        let id = cluster.assert_consistent("ada").await?;
        ensure!(id != before, "still {id}");
        let status = cluster.api::<ApiKey>().get("ada").await?.status.context("a status")?;
        ensure!(status.last_handled_rotate_at.as_deref() == Some(request), "{:?}", status.last_handled_rotate_at);
        Ok(id)
    })
    .await
}

#[tokio::test]
async fn two_leaders_that_do_not_know_of_each_other_leave_a_consistent_key() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let other_lease = cluster.kubernetes.namespace().await?;
        cluster.account.grant_lease(&other_lease).await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        drop(operator);
        for round in 0..rounds() {
            for point in POINTS {
                let name = format!("{point}-{round}");
                interleave(&cluster, &other_lease, point, &name, None).await.context(name.clone())?;
                interleave(&cluster, &other_lease, point, "ada", Some(&name)).await.context(name)?;
            }
        }
        Ok(())
    })
    .await;
}

/// Holds one leader at the fail point while it issues or rotates the key. Another leader completes
/// the operation, then the first one continues.
async fn interleave(
    cluster: &ClusterFixture,
    other_lease: &str,
    point: &str,
    name: &str,
    request: Option<&str>,
) -> Result<()> {
    let folder = reaper::scratch_dir("holds")?;
    let file = folder.path().join("held");
    let action = format!("{point}=hold:{}", file.display());
    let first = cluster.launch()?.env("PADDOCK_FAILPOINT", &action).start().await?;
    match request {
        None => cluster.create::<ApiKey>(name, json!({"userRef": {"name": "ada"}})).await?,
        Some(request) => cluster.merge_patch::<ApiKey>(name, rotate(request)).await?,
    };
    eventually("the first leader to be held", EVENT_TIMEOUT, async || {
        if file.exists() { Ok(()) } else { Err("it has not reached the fail point") }
    })
    .await?;
    let second = cluster.launch()?.env("LEASE_NAMESPACE", other_lease).start().await?;
    cluster.wait_until_consistent(name).await.context("the second leader alone")?;
    std::fs::remove_file(&file)?;
    // The first leader completes its operation, if it still may.
    first.process().signal(Signal::Term)?;
    first.process().wait_for_exit(EVENT_TIMEOUT).await?;
    cluster.wait_until_consistent(name).await.context("both")?;
    drop(second);
    cluster.assert_consistent(name).await.context("at rest")?;
    Ok(())
}
