//! Warnings before a key, or a replaced version of it, ends.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, annotation};
use paddock_tests::{eventually::eventually, story::story};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT};

#[tokio::test]
async fn a_key_that_ends_soon_warns_by_a_condition_and_an_event() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let end = cluster.accounts.now() + Duration::from_hours(20);
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "expiresAt": end.to_string()})).await?;
        let key = cluster.wait_for_ready::<ApiKey>("ci", "True", "Issued").await?;
        ensure!(
            key.status.context("a status")?.condition("Expiring").is_none(),
            "its whole life is shorter than a day"
        );

        cluster.database.execute("UPDATE credential_secrets SET issued_at = issued_at - INTERVAL '30 days'").await?;
        cluster.merge_patch::<ApiKey>("ci", json!({"spec": {"label": "older"}})).await?;
        eventually("the warning", EVENT_TIMEOUT, async || {
            let status = cluster.api::<ApiKey>().get("ci").await?.status.context("a status")?;
            let expiring = status.condition("Expiring").context("no condition")?;
            ensure!(expiring.reason == "EndsInHours", "{expiring:?}");
            let events = cluster.event_reasons("ApiKey", "ci").await?;
            ensure!(events.iter().any(|event| event == "Expiring"), "{events:?}");
            Ok(())
        })
        .await?;
        let metrics = reqwest::get(format!("{}/metrics", operator.metrics_url())).await?.text().await?;
        ensure!(metrics.contains("paddock_keys_ending{within_hours=\"24\"}"), "{metrics}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_replaced_version_in_use_is_named_before_it_ends() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let first = cluster.wait_until_consistent("ada").await?;
        let rotate = json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: "1"}}});
        cluster.merge_patch::<ApiKey>("ada", rotate).await?;
        eventually("another version", EVENT_TIMEOUT, async || {
            let id = cluster.assert_consistent("ada").await?;
            ensure!(id != first);
            Ok(())
        })
        .await?;
        cluster
            .database
            .execute(
                "UPDATE credential_secrets SET issued_at = now() - INTERVAL '10 minutes' WHERE state = 'active'; \
                 UPDATE credential_secrets SET last_used_at = now(), retire_at = now() + INTERVAL '4 minutes' \
                 WHERE state = 'retiring'",
            )
            .await?;
        cluster.merge_patch::<ApiKey>("ada", json!({"spec": {"label": "seen"}})).await?;
        eventually("the event", EVENT_TIMEOUT, async || {
            let events = cluster.event_reasons("ApiKey", "ada").await?;
            ensure!(events.iter().any(|event| event == "ReplacedVersionInUse"), "{events:?}");
            Ok(())
        })
        .await
    })
    .await;
}
