//! What the holder of a key is told about its end.

use std::time::Duration;

use anyhow::ensure;
use paddock_store::clock::{Clock as _, SystemClock};
use paddock_tests::{database::Engine, eventually::eventually, story::story};
use rstest::rstest;
use serde_json::json;

use super::Api;

const HEADER: &str = "x-paddock-key-expires";

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_key_is_announced_in_its_last_day(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let in_hours = |hours| (SystemClock.now() + Duration::from_hours(hours)).to_string();
        for (expires_at, is_announced) in [(Some(in_hours(23)), true), (Some(in_hours(25)), false), (None, false)] {
            let (_, key) = api.key(user, json!({"expires_at": expires_at})).await?;
            // The management API and the gateway.
            for path in ["/me", "/api/tags"] {
                let answer = api.by(&key).get(path).expect(200).await?;
                let header = answer.header(HEADER);
                ensure!(header.is_empty() != is_announced, "{path} {expires_at:?}: {header:?}");
            }
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_an_ended_key_learns_that_it_ended(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let soon = (SystemClock.now() + Duration::from_secs(1)).to_string();
        let (_, expired) = api.key(user, json!({"expires_at": soon})).await?;
        let (id, revoked) = api.key(user, json!({})).await?;
        api.admin().post(format!("/credentials/{id}/revoke")).expect(204).await?;
        let unknown = api.by("pdk_x").get("/me").expect(401).await?.text("detail")?;
        let of_revoked = api.by(&revoked).get("/me").expect(401).await?.text("detail")?;
        ensure!(of_revoked != unknown && of_revoked.contains("revoked"), "{of_revoked}");
        eventually("the key to expire", Duration::from_secs(10), async || {
            let refused = api.by(&expired).get("/me").expect(401).await?.text("detail")?;
            ensure!(refused.contains("expired"), "{refused}");
            Ok(())
        })
        .await
    })
    .await;
}
