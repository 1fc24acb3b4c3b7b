//! The catalogue of problems: each `type` is the path of a page that says what to do.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story, testbed::repository};

use super::Api;

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_a_problem_leads_to_its_page() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let refused = api.anonymous().get("/me").expect(401).await?;
        let page = text(&api, &refused.text("type")?).await?;
        for part in [refused.text("title")?.as_str(), "401", "What to do"] {
            ensure!(page.contains(part), "no {part:?} in {page}");
        }
        let answer = reqwest::get(format!("{}/problems/nothing", api.contract.url)).await?;
        assert_eq!(answer.status(), 404);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_a_page_and_a_line_in_the_documentation() {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        let catalogue = text(&api, "/problems").await?;
        let documentation = std::fs::read_to_string(repository().join("docs/api.md"))?;
        let slugs: Vec<_> = catalogue
            .split("href=\"/problems/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
            .collect();
        ensure!(slugs.len() >= 20, "{slugs:?}");
        for slug in slugs {
            text(&api, &format!("/problems/{slug}")).await?;
            ensure!(documentation.contains(&format!("| `{slug}` |")), "docs/api.md does not list the problem `{slug}`");
        }
        Ok(())
    })
    .await;
}

/// Fetches a page, and asserts that it runs no script and loads nothing.
async fn text(api: &Api, path: &str) -> Result<String> {
    let answer = reqwest::get(format!("{}{path}", api.contract.url)).await?.error_for_status()?;
    let policy = answer.headers()["content-security-policy"].to_str()?.to_owned();
    ensure!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
    let page = answer.text().await.context("a page")?;
    ensure!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"), "{page}");
    Ok(page)
}
