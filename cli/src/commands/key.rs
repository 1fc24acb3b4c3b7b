//! `paddock key`

use std::time::Duration;

use clap::{Args, Subcommand};
use paddock_store::clock::{Clock as _, SystemClock};
use serde_json::{Map, Value, json};

use super::{hint_if_no_role, print, user::parse_limit};
use crate::{
    client::{Client, ServerSettings},
    error::Error,
    output::OutputSettings,
    value_parsers::parse_duration,
};

/// The columns of the table.
const COLUMNS: [&str; 8] = ["id", "user_id", "label", "prefix", "revoked", "created_at", "expires_at", "last_used_at"];

/// Manage API keys, through a running server.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    List(List),
    Issue(Issue),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// List keys, newest first, including revoked keys; never shows a secret.
#[derive(Args)]
struct List {
    /// Only keys of this user: an id or e-mail address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Issue a key and print it once.
#[derive(Args)]
struct Issue {
    /// The owner: an id or e-mail address
    user: String,
    /// A label for people to read [default: api-key]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// A scope of the key, such as chat or users:read; can be repeated [default: chat generate
    /// embed models:read]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// A pattern of models that the key may use, or after ! may not use; can be repeated
    #[arg(long, value_name = "PATTERN")]
    model: Vec<String>,
    /// A limit of this key, such as requests_per_minute=60; can be repeated
    #[arg(long, value_name = "NAME=N", value_parser = parse_limit)]
    limit: Vec<(String, Option<i64>)>,
    /// The band in the queue in front of a model: interactive or batch [default: interactive]
    #[arg(long, value_name = "BAND")]
    priority: Option<String>,
    /// When the key expires, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// After how long the key expires, such as 2160h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Give a key a new secret and print it once; the old secret stays valid for a grace period.
#[derive(Args)]
struct Rotate {
    /// The key's id
    id: i64,
    /// How long the old secret stays valid; 0s ends it at once [default: a day]
    #[arg(long, value_name = "DURATION", value_parser = parse_grace)]
    grace: Option<Duration>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Revoke keys for good.
///
/// Revokes the given ids, or all live keys that match every given condition (--user, --label,
/// --older-than, --unused-for).
#[derive(Args)]
struct Revoke {
    /// Ids of the keys
    #[arg(conflicts_with_all = ["user", "label", "older_than", "unused_for", "include_self", "dry_run"])]
    id: Vec<i64>,
    /// Keys of this user: an id or e-mail address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Keys with this label
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Keys created longer ago than this, such as 720h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Keys not used for this long, such as 720h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    unused_for: Option<Duration>,
    /// Also revoke the key in PADDOCK_TOKEN, if it matches
    #[arg(long)]
    include_self: bool,
    /// Only list the keys that would be revoked
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl Key {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        match self.command {
            KeyCommand::List(list) => list.execute().await,
            KeyCommand::Issue(issue) => issue.execute().await,
            KeyCommand::Rotate(rotate) => rotate.execute().await,
            KeyCommand::Revoke(revoke) => revoke.execute().await,
        }
    }
}

impl List {
    async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        let mut query = Vec::new();
        if let Some(user) = &self.user {
            query.push(("user_id", client.user_id(user).await?.to_string()));
        }
        let keys = client.fetch_all("/credentials", &query).await?;
        print(&self.output.list(&keys, &COLUMNS)?)
    }
}

impl Issue {
    async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        let owner = client.find_user(&self.user).await?;
        put("user_id", owner["id"].clone());
        if let Some(label) = self.label {
            put("label", label.into());
        }
        if !self.scope.is_empty() {
            put("scopes", json!(self.scope));
        }
        if !self.model.is_empty() {
            put("models", json!(self.model));
        }
        if !self.limit.is_empty() {
            put("limits", self.limit.into_iter().map(|(name, n)| (name, json!(n))).collect::<Map<_, _>>().into());
        }
        if let Some(priority) = self.priority {
            put("priority", priority.into());
        }
        let expires_at = self.expires_in.map(|after| (SystemClock.now() + after).to_string());
        if let Some(expires_at) = self.expires_at.or(expires_at) {
            put("expires_at", expires_at.into());
        }
        let issued = client.post("/credentials", Some(&body.into())).await?;
        print(&self.output.object(&issued)?)?;
        hint_if_no_role(&owner);
        Ok(())
    }
}

impl Rotate {
    async fn execute(self) -> Result<(), Error> {
        let body = self.grace.map(|grace| json!({"grace_seconds": grace.as_secs()}));
        let path = format!("/credentials/{}/rotate", self.id);
        let issued = Client::new(&self.server)?.post(&path, body.as_ref()).await?;
        print(&self.output.object(&issued)?)
    }
}

impl Revoke {
    /// Whether the command line has a condition that selects keys.
    fn has_condition(&self) -> bool {
        self.user.is_some() || self.label.is_some() || self.older_than.is_some() || self.unused_for.is_some()
    }

    async fn execute(self) -> Result<(), Error> {
        if self.id.is_empty() && !self.has_condition() {
            return Err(Error::config("no keys selected: name ids, or --user, --label, --older-than or --unused-for"));
        }
        let client = Client::new(&self.server)?;
        if self.id.is_empty() {
            return self.revoke_matching(&client).await;
        }
        let mut revoked = Vec::new();
        for id in &self.id {
            client.post(&format!("/credentials/{id}/revoke"), None).await.map_err(|error| {
                match revoked.as_slice() {
                    [] => Error::from(error),
                    done => anyhow::anyhow!("key {id}: {error} (already revoked: {done:?})").into(),
                }
            })?;
            revoked.push(*id);
        }
        let done: Vec<Value> = revoked.iter().map(|id| json!({"id": id, "revoked": true})).collect();
        print(&self.output.list(&done, &["id", "revoked"])?)
    }

    /// Revokes all keys that match the conditions.
    async fn revoke_matching(self, client: &Client) -> Result<(), Error> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if let Some(user) = &self.user {
            put("user_id", client.user_id(user).await?.into());
        }
        if let Some(label) = self.label {
            put("label", label.into());
        }
        let now = SystemClock.now();
        for (name, age) in [("created_before", self.older_than), ("unused_since", self.unused_for)] {
            if let Some(age) = age {
                put(name, (now - age).to_string().into());
            }
        }
        put("include_self", self.include_self.into());
        put("dry_run", self.dry_run.into());
        let body = Value::from(body);
        let mut revoked = Vec::new();
        // The server revokes a limited number per request, and reports how many are left.
        let left = loop {
            let response = client.post("/credentials/revoke", Some(&body)).await?;
            revoked.extend(response["revoked"].as_array().into_iter().flatten().cloned());
            let left = response["left"].as_u64().unwrap_or(0);
            if left == 0 || self.dry_run || response["revoked"].as_array().is_none_or(Vec::is_empty) {
                break left;
            }
        };
        print(&self.output.object(&json!({"revoked": revoked, "left": left, "dry_run": self.dry_run}))?)
    }
}

/// Parses a duration that may be zero.
fn parse_grace(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { parse_duration(text) }
}
