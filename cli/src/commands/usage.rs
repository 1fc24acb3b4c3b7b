//! `paddock usage`

use clap::Args;
use serde_json::Value;

use super::print;
use crate::{
    failure::Failure,
    output::OutputSettings,
    remote::{Remote, ServerSettings},
};

/// What a table may show, in this order.
const COLUMNS: [&str; 9] = [
    "day",
    "user_id",
    "credential_id",
    "model",
    "requests",
    "failed",
    "prompt_tokens",
    "completion_tokens",
    "estimated",
];

/// Shows what was used: requests and tokens, in total or by user, key, model and day, through a running server.
#[derive(Args)]
pub(crate) struct Usage {
    /// From this UTC date on, as 2026-11-01
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Before this UTC date
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// A line for each of these
    #[arg(long, value_name = "WHAT,..", value_delimiter = ',', value_parser = ["user", "key", "model", "day"])]
    group_by: Vec<String>,
    /// Only this user: an id or e-mail address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only this key
    #[arg(long, value_name = "ID")]
    key: Option<i64>,
    /// Only this model; without a tag `latest` is meant, so smollm2 is smollm2:latest
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl Usage {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let user = match &self.user {
            Some(user) => Some(remote.user(user).await?.to_string()),
            None => None,
        };
        let group_by = (!self.group_by.is_empty()).then(|| self.group_by.join(","));
        let key = self.key.map(|id| id.to_string());
        let given = [
            ("from", self.from),
            ("to", self.to),
            ("group_by", group_by),
            ("user_id", user),
            ("credential_id", key),
            ("model", self.model),
        ];
        let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let rows = remote.all("/usage", &query).await?;
        print(&self.output.list(&rows, &columns(&rows))?)
    }
}

/// Those that the rows have.
fn columns(rows: &[Value]) -> Vec<&'static str> {
    COLUMNS.into_iter().filter(|column| rows.first().is_none_or(|row| row.get(column).is_some())).collect()
}
