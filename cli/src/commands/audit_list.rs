//! `paddock audit list`

use clap::Args;
use serde_json::Value;

use super::print;
use crate::{
    client::{Client, ServerSettings},
    error::Error,
    output::OutputSettings,
};

/// The columns of the table.
const COLUMNS: [&str; 8] = ["id", "occurred_at", "event_type", "actor", "user_id", "credential_id", "target", "detail"];
/// The page size, which is the API's maximum.
const PAGE_SIZE: usize = 500;
/// Upper bound of `--limit`: all events are held in memory before the first is printed.
const MAX_EVENTS: usize = 100_000;

/// List events, newest first, through a running server.
#[derive(Args)]
pub(crate) struct List {
    /// Only events of this type, such as user_created
    #[arg(long = "type", alias = "event-type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events about this user: an id or e-mail address
    #[arg(long, alias = "user-id", value_name = "USER")]
    user: Option<String>,
    /// Only events about this credential
    #[arg(long, alias = "credential-id", value_name = "ID")]
    credential: Option<i64>,
    /// Only actions of this actor: user:1, key:1, system:seed, anonymous
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only events at or after this time, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Maximum number of events, 1 to 100000; `paddock audit export` prints all
    #[arg(long, value_name = "N", default_value = "50", value_parser = parse_limit)]
    limit: usize,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl List {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        let mut filter = Vec::new();
        if let Some(user) = &self.user {
            filter.push(("user_id", client.user_id(user).await?.to_string()));
        }
        let options = [
            ("event_type", self.event_type),
            ("credential_id", self.credential.map(|id| id.to_string())),
            ("actor", self.actor),
            ("since", self.since),
            ("until", self.until),
        ];
        filter.extend(options.into_iter().filter_map(|(name, value)| Some((name, value?))));

        let mut events: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while events.len() < self.limit {
            let mut query = filter.clone();
            query.push(("limit", (self.limit - events.len()).min(PAGE_SIZE).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = client.get("/audit", &query).await?;
            events.extend(page.body.as_array().into_iter().flatten().cloned());
            cursor = page.headers.get("x-next-cursor").and_then(|next| next.to_str().ok()).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        print(&self.output.list(&events, &COLUMNS)?)
    }
}

/// Parses `--limit`.
fn parse_limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_EVENTS).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of events; use a number from 1 to {MAX_EVENTS}, such as 50"))
}
