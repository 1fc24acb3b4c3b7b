//! Filters of the audit log for people, and the state of its chain.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_tests::{database::Engine, eventually::eventually, story::story};
use rstest::rstest;
use serde_json::json;

use super::Api;

/// The types of the listed events, newest first.
async fn types(api: &Api, query: &[(&str, &str)]) -> Result<Vec<String>> {
    let listed = api.admin().get("/audit").query(query).expect(200).await?;
    let events = listed.json.as_array().context("a list")?;
    Ok(events.iter().filter_map(|event| Some(event["event_type"].as_str()?.to_owned())).collect())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_filter_selects_its_events(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let session = api.session().await?;
        api.by(&session).post("/users").json(&json!({"email": "ada@example.com"})).expect(201).await?;
        let (_, key) = api.plain_user().await?;
        api.by(&key).get("/audit").header("x-request-id", "story-403").expect(403).await?;
        api.sign_in(ADMIN_EMAIL, "wrong").await?;
        for (query, expected) in [
            (vec![("result", "failure")], vec!["login_failure", "access_denied"]),
            (vec![("result", "failure"), ("group", "sign_in")], vec!["login_failure"]),
            (vec![("group", "access")], vec!["access_denied"]),
            (vec![("group", "system")], vec![]),
            (vec![("event_type", "login_success,access_denied")], vec!["access_denied", "login_success"]),
            (vec![("event_type", "login_success"), ("result", "failure")], vec![]),
            (vec![("target", "GET /AUDIT")], vec!["access_denied"]),
            (vec![("target", "ada@")], vec!["user_created"]),
            (vec![("request_id", "story-403")], vec!["access_denied"]),
            (vec![("actor_kind", "user"), ("group", "users")], vec!["user_created"]),
            (vec![("since", "2020-01-01"), ("group", "access")], vec!["access_denied"]),
            (vec![("until", "2020-01-01")], vec![]),
        ] {
            assert_eq!(types(&api, &query).await?, expected, "{query:?}");
        }
        let people = types(&api, &[("actor_kind", "user,anonymous")]).await?;
        ensure!(
            people.contains(&"login_success".to_owned()) && !people.contains(&"api_key_issued".to_owned()),
            "{people:?}"
        );
        for wrong in ["group", "result", "actor_kind", "event_type", "since"] {
            let refused = api.admin().get("/audit").query(&[(wrong, "x")]).expect(422).await?;
            assert_eq!(refused.pointers(), [format!("?{wrong}")]);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_chain_is_verified_as_it_grows_and_a_change_of_the_newest_row_is_found(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for _ in 0..2 {
            api.user(json!({})).await?;
            eventually("the new rows to be verified", Duration::from_secs(20), async || {
                let chain = api.admin().get("/audit/chain").expect(200).await?.json;
                ensure!(chain["state"] == "verified", "{chain}");
                assert_eq!(chain["verified"]["position"], chain["head"]["position"]);
                assert_eq!(chain["verified"]["hash"], chain["head"]["hash"]);
                ensure!(chain["complete_at"].is_string() && chain["defect"].is_null(), "{chain}");
                anyhow::Ok(())
            })
            .await?;
        }
        let newest = "UPDATE audit_head SET hash = prev_hash FROM (SELECT prev_hash FROM audit_logs ORDER BY id DESC LIMIT 1) AS last";
        api.database()?.execute(newest).await?;
        eventually("the defect to be found", Duration::from_secs(20), async || {
            let chain = api.admin().get("/audit/chain").expect(200).await?.json;
            ensure!(chain["state"] == "broken" && chain["defect"].is_string(), "{chain}");
            anyhow::Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}
