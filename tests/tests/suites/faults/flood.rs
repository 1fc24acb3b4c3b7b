//! More sign-ins at once than can be judged.

use anyhow::ensure;
use paddock_tests::database::{Database, Engine};
use paddock_tests::flood::{Flood, sign_ins};
use paddock_tests::story::story;
use reqwest::StatusCode;

use super::launch;

/// A sign-in hashes in 19 MiB: in 128 there is room for six of them, and not for all who wait.
const ROOM_KIB: u64 = 128 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_sign_ins_at_once_wait_or_are_refused_and_take_no_more_memory() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = launch(database.url())?;
        let admin = launch.seed()?;
        let paddock = launch.start().await?;
        let flood = sign_ins(&paddock, &admin, 300).await?;
        let Flood { answers, without_retry_after, growth_kib, .. } = flood;
        let known = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        let [signed_in, held_up, busy] = known.map(|status| answers.get(&status).copied().unwrap_or_default());
        ensure!(signed_in > 0 && signed_in + held_up + busy == 300, "{answers:?}");
        ensure!(busy + held_up > 0 && without_retry_after == 0, "{without_retry_after} of {answers:?}");
        ensure!(growth_kib < ROOM_KIB, "it grew by {growth_kib} KiB");
        Ok(())
    })
    .await;
}
