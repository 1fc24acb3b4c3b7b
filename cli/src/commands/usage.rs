//! `paddock usage`

use clap::Args;
use serde_json::{Value, json};

use super::print;
use crate::{
    client::{Client, ServerSettings},
    error::Error,
    output::OutputSettings,
};

/// The possible columns of the table, in this order.
const COLUMNS: [&str; 10] = [
    "day",
    "user_id",
    "credential_id",
    "model",
    "requests",
    "failed",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "estimated",
];

/// The columns of the table of limits.
const LIMIT_COLUMNS: [&str; 7] = ["of", "name", "limit", "used", "reserved", "left", "resets_at"];

/// Show usage, through a running server.
///
/// Prints requests and tokens, in total or by user, key, model and day; or with --limits what is
/// left of the own limits.
#[derive(Args)]
pub(crate) struct Usage {
    /// From this UTC date on, such as 2026-11-01
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Before this UTC date
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// One line per user, key, model or day, or per combination of them
    #[arg(long, value_name = "WHAT,..", value_delimiter = ',', value_parser = ["user", "key", "model", "day"])]
    group_by: Vec<String>,
    /// Only this user: an id or e-mail address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only this key
    #[arg(long, value_name = "ID")]
    key: Option<i64>,
    /// Only this model; without a tag, `latest` is meant: smollm2 is smollm2:latest
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Show what is left of the own limits, and when they reset
    #[arg(long, conflicts_with_all = ["from", "to", "group_by", "user", "key", "model"])]
    limits: bool,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl Usage {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        if self.limits {
            let usage = client.get("/me/usage", &[]).await?.body;
            return print(&self.output.list(&limit_rows(&usage["limits"]), &LIMIT_COLUMNS)?);
        }
        let user = match &self.user {
            Some(user) => Some(client.user_id(user).await?.to_string()),
            None => None,
        };
        let group_by = (!self.group_by.is_empty()).then(|| self.group_by.join(","));
        let key = self.key.map(|id| id.to_string());
        let options = [
            ("from", self.from),
            ("to", self.to),
            ("group_by", group_by),
            ("user_id", user),
            ("credential_id", key),
            ("model", self.model),
        ];
        let query: Vec<_> = options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let rows = client.fetch_all("/usage", &query).await?;
        print(&self.output.list(&rows, &columns(&rows))?)
    }
}

/// One row per limit of the user and of the key.
fn limit_rows(limits: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for of in ["user", "key"] {
        let states = limits[of].as_object().into_iter().flatten().filter(|(_, state)| !state.is_null());
        for (name, state) in states {
            let mut row = json!({"of": of, "name": name, "used": state.get("in_flight")});
            let members = ["limit", "used", "reserved", "left", "resets_at"].into_iter();
            for (member, value) in members.filter_map(|member| Some((member, state.get(member)?))) {
                row[member] = value.clone();
            }
            rows.push(row);
        }
    }
    rows
}

/// The columns that the rows have.
fn columns(rows: &[Value]) -> Vec<&'static str> {
    COLUMNS.into_iter().filter(|column| rows.first().is_none_or(|row| row.get(column).is_some())).collect()
}
