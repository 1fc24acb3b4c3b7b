//! `paddock audit list`

use clap::Args;
use serde_json::Value;

use super::print;
use crate::{
    failure::Failure,
    output::OutputSettings,
    remote::{Remote, ServerSettings},
};

/// What a table of events shows.
const COLUMNS: [&str; 8] = ["id", "occurred_at", "event_type", "actor", "user_id", "credential_id", "target", "detail"];
/// The most events that the API gives at once.
const PAGE: usize = 500;
/// The most that are listed: they are all in memory before the first is shown.
const MOST: usize = 100_000;

/// Lists events, newest first.
#[derive(Args)]
pub(crate) struct List {
    /// Only events of this type, as user_created
    #[arg(long = "type", alias = "event-type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events about this user: an id or e-mail address
    #[arg(long, alias = "user-id", value_name = "USER")]
    user: Option<String>,
    /// Only events about this credential
    #[arg(long, alias = "credential-id", value_name = "ID")]
    credential: Option<i64>,
    /// Only what this one did: user:1, key:1, system:seed, anonymous
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Not before this time, as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many at the most, 1 to 100000; `paddock audit export` prints all
    #[arg(long, value_name = "N", default_value = "50", value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl List {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let mut filter = Vec::new();
        if let Some(user) = &self.user {
            filter.push(("user_id", remote.user(user).await?.to_string()));
        }
        let given = [
            ("event_type", self.event_type),
            ("credential_id", self.credential.map(|id| id.to_string())),
            ("actor", self.actor),
            ("since", self.since),
            ("until", self.until),
        ];
        filter.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));

        let mut events: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while events.len() < self.limit {
            let mut query = filter.clone();
            query.push(("limit", (self.limit - events.len()).min(PAGE).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = remote.get("/audit", &query).await?;
            events.extend(page.body.as_array().into_iter().flatten().cloned());
            cursor = page.headers.get("x-next-cursor").and_then(|next| next.to_str().ok()).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        print(&self.output.list(&events, &COLUMNS)?)
    }
}

/// A number of events.
fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of events; use one from 1 to {MOST}, as 50"))
}
