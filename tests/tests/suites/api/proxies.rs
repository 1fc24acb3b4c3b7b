//! Clients behind proxies: whose address counts.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::database::{Database, Engine};
use serde_json::json;

use super::contract::{Answer, Contract};
use super::{Api, on_both_engines};

on_both_engines! {
    who_fails_behind_a_trusted_proxy_waits_alone,
}

/// A wrong password, sent over this connection with this `X-Forwarded-For`.
async fn fails(over: &Contract, forwarded: &str) -> Result<Answer> {
    let wrong = json!({"username": ADMIN_EMAIL, "password": "wrong"});
    over.request("POST /auth/login", 0).header("x-forwarded-for", forwarded).json(&wrong).any().await
}

async fn who_fails_behind_a_trusted_proxy_waits_alone(engine: Engine) -> Result<()> {
    let database = Box::pin(Database::new(engine)).await?;
    let trusted = vec!["127.0.0.1/32".parse()?];
    let api = Api::serve(database.url(), |config| Config { trusted_proxies: trusted, ..config });
    let api = Box::pin(api).await?;
    let proxy = &api.contract;
    let stranger = proxy.from("127.0.0.2".parse()?)?;

    // One address waits, whatever else its owner has the proxy forward; another one does not.
    assert_eq!(fails(proxy, "203.0.113.1").await?.status, 401);
    let locked = fails(proxy, "198.51.100.7, 203.0.113.1").await?;
    assert_eq!((locked.status, locked.problem()), (429, "login-locked"), "{locked}");
    assert_eq!(fails(proxy, "203.0.113.2").await?.status, 401);
    // Whoever is no proxy is known by the address of its connection.
    assert_eq!(fails(&stranger, "203.0.113.3").await?.status, 401);
    let locked = fails(&stranger, "203.0.113.4").await?;
    assert_eq!((locked.status, locked.problem()), (429, "login-locked"), "{locked}");

    let events = api.admin("GET /audit", 0).query(&[("event_type", "login_failure")]).expect(200).await?;
    let events = events.json.as_array().context("a list")?;
    let addresses: BTreeSet<_> = events.iter().filter_map(|event| event["ip"].as_str()).collect();
    ensure!(addresses == BTreeSet::from(["127.0.0.2", "203.0.113.1", "203.0.113.2"]), "{events:?}");
    Ok(())
}
