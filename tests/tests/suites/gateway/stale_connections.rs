//! Pooled connections that Ollama has closed: their requests go out on new ones, as long as no byte
//! of them was answered.

use std::{collections::HashSet, time::Duration};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use http::StatusCode;
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::{Script, chat_lines},
    paddock::{Caller, Launch, Paddock},
    raw_upstream::{RawAnswer, RawUpstream, Then},
    story::story,
};
use serde_json::Value;

use super::{GatewayFixture, MODEL, chat};

const POOLED: usize = 20;
const REQUESTS: usize = 400;
/// An answer of Ollama to a chat that is no stream.
const COMPLETE: &str = r#"{"model":"smollm2:135m","message":{"role":"assistant","content":"hi"},"done":true,"prompt_eval_count":31,"eval_count":1}"#;

/// Sends `count` chats at once, and returns their statuses. Their ids begin with `name`.
async fn send(workload: &Caller, name: &str, count: usize) -> Result<Vec<StatusCode>> {
    let mut body = chat();
    body["stream"] = false.into();
    let sent = (0..count).map(|number| {
        let request = workload.post("/api/chat", &body).header("X-Request-Id", format!("{name}-{number}"));
        async move {
            let answer = request.send().await?;
            let status = answer.status();
            answer.bytes().await?;
            anyhow::Ok(status)
        }
    });
    try_join_all(sent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_after_a_restart_under_pooled_connections() {
    story(async {
        let mut gateway = GatewayFixture::start().await?;
        let chats = || Script::ndjson(chat_lines(MODEL, 0));
        // The answers are late, so that each of these requests needs a connection of its own.
        gateway.fake.script("/api/chat", chats().headers_after(Duration::from_secs(1)));
        send(&gateway.workload, "before", POOLED).await?;
        let before = gateway.fake.connections();
        ensure!(before >= POOLED, "{before} connections");
        gateway.fake.script("/api/chat", chats());

        gateway.fake.restart().await?;
        for round in 0..REQUESTS / POOLED {
            let statuses = send(&gateway.workload, &format!("after-{round}"), POOLED).await?;
            ensure!(statuses.iter().all(|status| *status == 200), "round {round}: {statuses:?}");
        }
        ensure!(gateway.fake.connections() > before, "the connections outlived the restart");

        let got = gateway.fake.requests("/api/chat");
        let ids: HashSet<_> = got.iter().filter_map(|request| request.headers.get("x-request-id")).collect();
        ensure!(got.len() == POOLED + REQUESTS && ids.len() == got.len(), "{} of {} ids", ids.len(), got.len());
        Ok(())
    })
    .await;
}

/// A Paddock in front of an upstream that answers whole the first request of each connection, and
/// the others in this way; and a workload.
async fn with_second_answer(second: RawAnswer) -> Result<(RawUpstream, Database, Paddock, Caller)> {
    let answers = move |place: usize| if place == 0 { RawAnswer::json(COMPLETE) } else { second.clone() };
    let upstream = RawUpstream::start(&[MODEL], answers).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let (paddock, admin) = Paddock::seeded(Launch::new(&["api"], database.url())?.ollama(&upstream.url())).await?;
    let workload = admin.create_workload().await?;
    Ok((upstream, database, paddock, workload))
}

/// Sends chats one after the other, so that they find the connection of the one before.
async fn send_in_turn(workload: &Caller, count: usize) -> Result<Vec<StatusCode>> {
    let mut statuses = Vec::new();
    for number in 0..count {
        statuses.extend(send(workload, &format!("turn-{number}"), 1).await?);
    }
    Ok(statuses)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_again_if_its_connection_was_closed_without_an_answer() {
    story(async {
        for then in [Then::Close, Then::Reset] {
            let (upstream, _database, _paddock, workload) = with_second_answer(RawAnswer::new("", then)).await?;
            let statuses = send_in_turn(&workload, POOLED).await?;
            ensure!(statuses.iter().all(|status| *status == 200), "{then:?}: {statuses:?}");
            ensure!(upstream.requests() > POOLED, "no connection was used twice");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_sent_again_after_a_byte_of_its_answer() {
    story(async {
        let partial = RawAnswer::new("HTTP/1.1 200 OK\r\nContent-Le", Then::Close);
        let (upstream, _database, _paddock, workload) = with_second_answer(partial).await?;
        let statuses = send_in_turn(&workload, POOLED).await?;
        ensure!(statuses.contains(&StatusCode::BAD_GATEWAY), "no connection was used twice: {statuses:?}");
        ensure!(statuses.iter().all(|status| [200, 502].contains(&status.as_u16())), "{statuses:?}");
        assert_eq!(upstream.requests(), POOLED);
        Ok(())
    })
    .await;
}

/// A connection that was idle fails at once. One that fails later may have failed because of the
/// request, which would then run twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_sent_again_if_its_connection_was_closed_later() {
    story(async {
        let late = RawAnswer::new("", Then::CloseAfter(Duration::from_millis(1500)));
        let (upstream, _database, _paddock, workload) = with_second_answer(late).await?;
        let statuses = send_in_turn(&workload, 4).await?;
        ensure!(statuses.contains(&StatusCode::BAD_GATEWAY), "no connection was used twice: {statuses:?}");
        assert_eq!(upstream.requests(), 4);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_a_new_connection_is_not_sent_again() {
    story(async {
        let upstream = RawUpstream::start(&[MODEL], |_| RawAnswer::new("", Then::Close)).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&upstream.url());
        let (_paddock, admin) = Paddock::seeded(launch).await?;
        let workload = admin.create_workload().await?;
        let answer = workload.post("/api/chat", &chat()).send().await?;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        ensure!(answer.json::<Value>().await?["error"].is_string());
        assert_eq!(upstream.requests(), 1);
        Ok(())
    })
    .await;
}
