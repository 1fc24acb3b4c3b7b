//! `paddock usage`

use clap::Args;
use serde_json::Value;

use super::print;
use crate::{
    failure::Failure,
    output::OutputSettings,
    remote::{Remote, ServerSettings},
};

/// Shows what was used: requests and tokens, in total or by user, key, model and day, through a running server.
#[derive(Args)]
pub(crate) struct Usage {
    /// From this time on, as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// A line for each of these
    #[arg(long, value_name = "WHAT,..", value_delimiter = ',', value_parser = ["user", "key", "model", "day"])]
    group_by: Vec<String>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl Usage {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let group_by = (!self.group_by.is_empty()).then(|| self.group_by.join(","));
        let given = [("from", self.from), ("to", self.to), ("group_by", group_by)];
        let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let usage = Remote::new(&self.server)?.get("/usage", &query).await?.body;
        print(&match &usage {
            Value::Array(rows) => self.output.list(rows, &columns(rows))?,
            total => self.output.one(total)?,
        })
    }
}

/// What the rows have, in the order in which the server says it.
fn columns(rows: &[Value]) -> Vec<&str> {
    rows.first().and_then(Value::as_object).into_iter().flat_map(|row| row.keys().map(String::as_str)).collect()
}
