//! Client addresses behind proxies.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::bootstrap::ADMIN_EMAIL;
use paddock_api::Config;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::json;

use super::{
    Api,
    contract::{Answer, Contract},
};

/// A wrong password, sent over this connection with this `X-Forwarded-For`.
async fn fail_to_sign_in(over: &Contract, forwarded: &str) -> Result<Answer> {
    let wrong = json!({"username": ADMIN_EMAIL, "password": "wrong"});
    over.client(None).post("/auth/login").header("x-forwarded-for", forwarded).json(&wrong).any().await
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_login_lock_behind_a_trusted_proxy_applies_to_the_forwarded_address(#[case] engine: Engine) {
    story(async {
        let trusted = vec!["127.0.0.1/32".parse()?];
        let api = Api::start_with(engine, |config| Config { trusted_proxies: trusted, ..config }).await?;
        let proxy = &api.contract;
        let stranger = proxy.with_local_address("127.0.0.2".parse()?)?;

        // The last forwarded address is locked, whatever the client put before it. Another address
        // is not.
        assert_eq!(fail_to_sign_in(proxy, "203.0.113.1").await?.status, 401);
        let locked = fail_to_sign_in(proxy, "198.51.100.7, 203.0.113.1").await?;
        assert_eq!((locked.status, locked.problem()), (429, "login-locked"), "{locked}");
        assert_eq!(fail_to_sign_in(proxy, "203.0.113.2").await?.status, 401);
        // A client that is not a trusted proxy has the address of its connection.
        assert_eq!(fail_to_sign_in(&stranger, "203.0.113.3").await?.status, 401);
        let locked = fail_to_sign_in(&stranger, "203.0.113.4").await?;
        assert_eq!((locked.status, locked.problem()), (429, "login-locked"), "{locked}");

        let events = api.admin().get("/audit").query(&[("event_type", "login_failure")]).expect(200).await?;
        let events = events.json.as_array().context("a list")?;
        let addresses: BTreeSet<_> = events.iter().filter_map(|event| event["ip"].as_str()).collect();
        ensure!(addresses == BTreeSet::from(["127.0.0.2", "203.0.113.1", "203.0.113.2"]), "{events:?}");
        Ok(())
    })
    .await;
}
