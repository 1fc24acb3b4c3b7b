//! Reading the metrics of a Paddock.

use anyhow::{Context as _, Result};
use paddock_tests::paddock::Paddock;

/// The sum of all series of a metric; 0 if it has none yet.
pub(crate) async fn metric(paddock: &Paddock, name: &str) -> Result<f64> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let series = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    series.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<f64>()?)).sum()
}
