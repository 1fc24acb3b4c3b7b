//! The three writes of the protocol, with the operator killed at each of the six points around them, and with two leaders
//! that do not know of each other, interleaved there.

use anyhow::{Context as _, Result, ensure};
use paddock_crds::{ApiKey, annotation, data};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::Paddock;
use paddock_tests::process::Signal;
use paddock_tests::sentinel;
use paddock_tests::story::{length, story};
use serde_json::{Value, json};

use super::{PATIENCE, Stage};

const POINTS: [&str; 6] =
    ["before-stage", "after-stage", "before-secret", "after-secret", "before-activate", "after-activate"];

/// How often each point is tried.
fn rounds() -> usize {
    length(20, 1)
}

fn rotate(value: &str) -> Value {
    json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: value}}})
}

/// An operator that dies at the point.
fn dying(stage: &Stage, point: &str) -> Result<Paddock> {
    stage.launch()?.env("PADDOCK_FAILPOINT", &format!("{point}=abort")).spawn()
}

async fn died(operator: &Paddock) -> Result<()> {
    let status = operator.process().ended(PATIENCE).await?;
    ensure!(status.code().is_none(), "it ended by itself: {status}");
    Ok(())
}

async fn count(stage: &Stage, event_type: &str) -> Result<usize> {
    Ok(stage.audit().await?.iter().filter(|event| *event == event_type).count())
}

#[tokio::test]
async fn issuing_survives_a_crash_at_every_point() {
    story(async {
        let stage = Stage::set().await?;
        let operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        drop(operator);
        for round in 0..rounds() {
            for point in POINTS {
                let issued = count(&stage, "api_key_issued").await?;
                let name = format!("{point}-{round}");
                stage.create::<ApiKey>(&name, json!({"userRef": {"name": "ada"}})).await?;
                died(&dying(&stage, point)?).await.context(point)?;
                let operator = stage.operator().await?;
                stage.sound(&name).await.context(point)?;
                assert_eq!(count(&stage, "api_key_issued").await?, issued + 1, "{point}");
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
        let stage = Stage::set().await?;
        let operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        let mut before = stage.sound("ada").await?;
        drop(operator);
        for round in 0..rounds() {
            for point in POINTS {
                let rotated = count(&stage, "api_key_rotated").await?;
                let old = stage.content("ada-apikey").await?[data::API_KEY].clone();
                let request = format!("{point}-{round}");
                stage.change::<ApiKey>("ada", rotate(&request)).await?;
                died(&dying(&stage, point)?).await.context(point)?;
                // Whatever has happened, both what pods hold and what the Secret holds is accepted.
                stage.accepts(&old).await.context(point)?;
                stage.accepts(&stage.content("ada-apikey").await?[data::API_KEY]).await.context(point)?;
                let operator = stage.operator().await?;
                before = changed(&stage, &before, &request).await.context(point)?;
                stage.accepts(&old).await.context(point)?;
                assert_eq!(count(&stage, "api_key_rotated").await?, rotated + 1, "{point}");
                drop(operator);
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until the key is sound, another one than before, and its status says that the request is answered.
async fn changed(stage: &Stage, before: &str, request: &str) -> Result<String> {
    eventually("another version", PATIENCE, async || {
        let id = stage.check("ada").await?;
        ensure!(id != before, "still {id}");
        let status = stage.api::<ApiKey>().get("ada").await?.status.context("a status")?;
        ensure!(status.last_handled_rotate_at.as_deref() == Some(request), "{:?}", status.last_handled_rotate_at);
        Ok(id)
    })
    .await
}

#[tokio::test]
async fn two_leaders_that_do_not_know_of_each_other_do_no_harm() {
    story(async {
        let stage = Stage::set().await?;
        let other_lease = stage.cluster.namespace().await?;
        let operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        drop(operator);
        for round in 0..rounds() {
            for point in POINTS {
                let name = format!("{point}-{round}");
                interleave(&stage, &other_lease, point, &name, None).await.context(name.clone())?;
                interleave(&stage, &other_lease, point, "ada", Some(&name)).await.context(name)?;
            }
        }
        Ok(())
    })
    .await;
}

/// One leader stands still at the point while it issues or rotates the key; the other does all of it; then the first goes
/// on.
async fn interleave(stage: &Stage, other_lease: &str, point: &str, name: &str, request: Option<&str>) -> Result<()> {
    let folder = sentinel::scratch("holds")?;
    let file = folder.path().join("standing");
    let action = format!("{point}=hold:{}", file.display());
    let first = stage.launch()?.env("PADDOCK_FAILPOINT", &action).start().await?;
    match request {
        None => stage.create::<ApiKey>(name, json!({"userRef": {"name": "ada"}})).await?,
        Some(request) => stage.change::<ApiKey>(name, rotate(request)).await?,
    };
    eventually("the first leader to stand still", PATIENCE, async || {
        if file.exists() { Ok(()) } else { Err("it has not come to the point") }
    })
    .await?;
    let second = stage.launch()?.env("LEASE_NAMESPACE", other_lease).start().await?;
    stage.sound(name).await.context("the second leader alone")?;
    std::fs::remove_file(&file)?;
    // It finishes what it was at, as far as it still may.
    first.process().signal(Signal::Term)?;
    first.process().ended(PATIENCE).await?;
    stage.sound(name).await.context("both")?;
    drop(second);
    stage.check(name).await.context("at rest")?;
    Ok(())
}
