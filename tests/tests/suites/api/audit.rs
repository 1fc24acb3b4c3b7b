//! The audit log as the API shows it.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Engine;
use serde_json::json;

use super::{Api, on_both_engines};

on_both_engines! {
    events_say_who_did_what_from_where,
    pages_follow_each_other_and_filters_narrow,
}

async fn events_say_who_did_what_from_where(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let ada = json!({"email": "ada@example.com"});
    let create =
        api.admin("POST /users", 0).json(&ada).header("x-request-id", "story-7").header("user-agent", "story/1");
    let user = create.expect(201).await?.id("id")?;
    let events = api.admin("GET /audit", 0).query(&[("limit", 1)]).expect(200).await?;
    let event = &events.json[0];
    assert_eq!((&event["event_type"], &event["user_id"]), (&json!("user_created"), &json!(user)));
    assert_eq!((&event["request_id"], &event["user_agent"]), (&json!("story-7"), &json!("story/1")));
    assert_eq!((&event["ip"], &event["target"]), (&json!("127.0.0.1"), &json!("ada@example.com")));
    ensure!(event["actor"].as_str().is_some_and(|actor| actor.starts_with("key:")), "{event}");
    assert_eq!(event["change"]["after"]["email"], "ada@example.com");

    let (_, key) = api.plain_user().await?;
    api.by(&key, "GET /audit", 0).expect(403).await?;
    api.anonymous("GET /audit", 0).expect(401).await?;
    let denied = api.admin("GET /audit", 0).query(&[("limit", 1)]).expect(200).await?;
    assert_eq!(denied.json[0]["event_type"], "access_denied");
    assert_eq!(denied.json[0]["target"], "GET /audit");

    // The gateway's refusals of someone known are recorded likewise, in whichever dialect they are told.
    let cloud = json!({"model": "gpt-oss:120b-cloud", "messages": []});
    let chat = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&key);
    assert_eq!(chat.json(&cloud).send().await?.status(), 403);
    let denied = api.admin("GET /audit", 0).query(&[("limit", 1)]).expect(200).await?;
    assert_eq!(denied.json[0]["event_type"], "access_denied");
    assert_eq!(denied.json[0]["target"], "POST /api/chat");
    Ok(())
}

async fn pages_follow_each_other_and_filters_narrow(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let mut users = Vec::new();
    for _ in 0..5 {
        users.push(api.user(json!({})).await?);
    }
    let ids = |json: &serde_json::Value| -> Result<Vec<i64>> {
        Ok(json.as_array().context("a list")?.iter().filter_map(|event| event["id"].as_i64()).collect())
    };
    let whole = ids(&api.admin("GET /audit", 0).expect(200).await?.json)?;
    ensure!(whole.is_sorted_by(|a, b| a > b) && whole.last() == Some(&1), "{whole:?}");
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut query = vec![("limit", "2".to_owned())];
        if !cursor.is_empty() {
            query.push(("cursor", cursor.clone()));
        }
        let page = api.admin("GET /audit", 0).query(&query).expect(200).await?;
        pages.extend(ids(&page.json)?);
        page.header("x-next-cursor").clone_into(&mut cursor);
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(pages, whole);

    let of_user = api.admin("GET /audit", 0).query(&[("user_id", users[2])]).expect(200).await?;
    assert_eq!(ids(&of_user.json)?.len(), 1);
    let created = api.admin("GET /audit", 0).query(&[("event_type", "user_created")]).expect(200).await?;
    assert_eq!(ids(&created.json)?.len(), 5);
    let at = created.json[2]["occurred_at"].as_str().context("a time")?;
    let since = ids(&api.admin("GET /audit", 0).query(&[("since", at)]).expect(200).await?.json)?;
    let until = ids(&api.admin("GET /audit", 0).query(&[("until", at)]).expect(200).await?.json)?;
    assert_eq!([since, until].concat(), whole);

    for (name, value) in [
        ("limit", "0"),
        ("limit", "501"),
        ("event_type", "nothing"),
        ("since", "yesterday"),
        ("since", "-004800-01-01T00:00:00Z"),
        ("until", "-004800-01-01T00:00:00Z"),
        ("cursor", "x"),
        ("actor", "key:1"),
    ] {
        let refused = api.admin("GET /audit", 0).query(&[(name, value)]).expect(422).await?;
        assert_eq!(refused.pointers(), [format!("?{name}")]);
    }
    let backwards = [("since", "2026-01-02T00:00:00Z"), ("until", "2026-01-01T00:00:00Z")];
    api.admin("GET /audit", 0).query(&backwards).expect(422).await?;
    Ok(())
}
