//! Two replicas count together while Redis is up.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{eventually::eventually, paddock::fetch_json, redis::Redis, story::story};
use reqwest::{Client, Response};
use serde_json::json;

use super::{NOTICE_TIMEOUT, PASSWORD, ReplicaPair};

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_admit_what_one_would() {
    story(async {
        let redis = Redis::with_password(PASSWORD).await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.assert_shared(8, 3).await?;
        for replica in &pair.replicas {
            ensure!(!replica.process().log().text().contains(PASSWORD), "a password in the log");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_is_loaded_again_after_redis_lost_it() {
    story(async {
        let redis = Redis::with_password(PASSWORD).await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.wait_until(true).await?;
        let mut connection = redis.connect().await?;
        let before = pair.fallbacks().await?;
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await?;
        let (_, keys) = pair.user_with_keys(1, &[None]).await?;
        assert_eq!(pair.request(0, &keys[0]).await?.status, 200);
        assert_eq!(pair.request(1, &keys[0]).await?.status, 429);
        assert_eq!(pair.fallbacks().await?, before);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bucket_in_redis_expires() {
    story(async {
        let redis = Redis::with_password(PASSWORD).await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.assert_shared(8, 3).await?;
        let mut connection = redis.connect().await?;
        let buckets: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await?;
        ensure!(!buckets.is_empty(), "the limits are not in Redis");
        for bucket in buckets {
            let left: i64 = redis::cmd("PTTL").arg(&bucket).query_async(&mut connection).await?;
            ensure!((-2..=60_001).contains(&left) && left != -1, "{bucket} stays for {left} ms");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_limit_applies_at_both_replicas() {
    story(async {
        let redis = Redis::start().await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.wait_until(true).await?;
        let (user, keys) = pair.user_with_keys(2, &[None]).await?;
        assert_eq!(pair.request(0, &keys[0]).await?.status, 200);
        assert_eq!(pair.request(1, &keys[0]).await?.status, 200);
        assert_eq!(pair.request(1, &keys[0]).await?.status, 429);
        pair.set_limit(user, 5).await?;
        eventually("the higher limit at the other", NOTICE_TIMEOUT, async || {
            let asked = pair.request(1, &keys[0]).await?;
            ensure!((asked.status, asked.limit) == (200, Some(5)), "{asked:?}");
            // Requests under the old limit stay counted.
            ensure!(asked.remaining == Some(2), "{asked:?}");
            Ok(())
        })
        .await?;
        assert_eq!(pair.request(0, &keys[0]).await?.remaining, Some(1));
        pair.set_limit(user, 1).await?;
        eventually("the lower limit at the other", NOTICE_TIMEOUT, async || {
            let asked = pair.request(1, &keys[0]).await?;
            ensure!((asked.status, asked.limit) == (429, Some(1)), "{asked:?}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_usage_shows_the_requests_that_both_replicas_leave() {
    story(async {
        let redis = Redis::start().await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.wait_until(true).await?;
        let (_, keys) = pair.user_with_keys(3, &[Some(2)]).await?;
        assert_eq!(pair.request(0, &keys[0]).await?.status, 200);
        let usage = fetch_json(pair.replicas[1].caller(&keys[0]).get("/me/usage")).await?;
        for (subject, left) in [("user", 1), ("key", 0)] {
            let limit = &usage["limits"][subject]["requests_per_minute"];
            ensure!(limit["left"] == left, "{subject}: {usage}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_at_both_replicas_share_one_limit() {
    story(async {
        let redis = Redis::start().await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.wait_until(true).await?;
        let post = |replica: usize, path: &str| Client::new().post(format!("{}{path}", pair.replicas[replica].url()));
        let cookie = |answer: Response| -> Result<String> {
            let set = answer.error_for_status()?.headers()["set-cookie"].to_str()?.to_owned();
            Ok(set.split(';').next().context("a cookie")?.to_owned())
        };
        let credentials = json!({"username": pair.bootstrap.email, "password": pair.bootstrap.password});
        let mut held = cookie(post(0, "/auth/login").json(&credentials).send().await?)?;
        // The first user is the admin.
        pair.set_limit(1, 2).await?;
        for replica in [0, 1] {
            held = cookie(post(replica, "/auth/refresh").header("cookie", held).send().await?)?;
        }
        for replica in [0, 1] {
            let refused = post(replica, "/auth/refresh").header("cookie", &held).send().await?;
            assert_eq!(refused.status(), 429);
        }
        Ok(())
    })
    .await;
}
