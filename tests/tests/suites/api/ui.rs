//! The web UI, with and without built files: the test executable has those that `make ui-build`
//! left.

use anyhow::ensure;
use http::StatusCode;
use paddock_tests::{database::Engine, story::story};
use reqwest::{Client, Response};
use rstest::rstest;

use super::{
    Api,
    authorization::{Callers, IDENTITIES},
};

/// The status of a page of the UI.
fn page_status() -> StatusCode {
    if paddock_api::has_ui() { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_caller_gets_the_ui(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let callers = Callers::new(&api).await?;
        let pages = [
            ("/ui/", page_status()),
            ("/ui/users/1/keys", page_status()),
            ("/ui/assets/unknown.js", StatusCode::NOT_FOUND),
        ];
        for (identity, credential) in IDENTITIES.iter().zip(&callers.credentials) {
            for (path, expected) in pages {
                let mut request = Client::new().get(format!("{}{path}", api.contract.url));
                if let Some(credential) = credential {
                    request = request.bearer_auth(credential);
                }
                assert_eq!(request.send().await?.status(), expected, "GET {path} by {identity}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_ui_have_their_own_policy_and_answer_head() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let url = format!("{}/ui/models", api.contract.url);
        let (page, head) = (reqwest::get(&url).await?, Client::new().head(&url).send().await?);
        assert_eq!((page.status(), head.status()), (page_status(), page_status()));
        for answer in [&page, &head] {
            let policy = text(answer, "content-security-policy");
            ensure!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(text(answer, "x-content-type-options"), "nosniff");
            assert_eq!(text(answer, "content-type"), "text/html; charset=utf-8");
        }
        assert_eq!(text(&page, "content-length"), text(&head, "content-length"));
        ensure!(head.text().await?.is_empty() && !page.text().await?.is_empty());
        let post = Client::new().post(&url).send().await?;
        assert_eq!((post.status(), text(&post, "allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD"));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_sends_browsers_to_the_ui_and_answers_other_clients() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let browser = api.anonymous().get("/").header("accept", "text/html,application/xhtml+xml").expect(303).await?;
        assert_eq!(browser.header("location"), "/ui/");
        let other = api.anonymous().get("/").header("accept", "*/*").expect(200).await?;
        assert_eq!(other.body, "Ollama is running");
        Ok(())
    })
    .await;
}

fn text<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
