//! `paddock key`

use std::time::Duration;

use clap::{Args, Subcommand};
use paddock_store::clock::{Clock as _, SystemClock};
use serde_json::{Map, Value, json};

use super::{hint_at_roles, print, user::limit};
use crate::{
    failure::Failure,
    output::OutputSettings,
    remote::{Remote, ServerSettings},
    settings::duration,
};

/// What a table of keys shows.
const COLUMNS: [&str; 8] = ["id", "user_id", "label", "prefix", "revoked", "created_at", "expires_at", "last_used_at"];

/// Works with API keys, through a running server.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// List keys, newest first, revoked ones too; never a secret
    List(List),
    /// Issue a key, and print it once
    Issue(Issue),
    /// Give a key a new secret, and print it once; the old one is accepted for a while
    Rotate(Rotate),
    /// End keys for good
    Revoke(Revoke),
}

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

/// Issues a key. It is printed this once.
#[derive(Args)]
struct Issue {
    /// Whose it will be: an id or e-mail address
    user: String,
    /// What people call it [default: api-key]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// What it may be used for, as chat or users:read; may be given several times [default: chat generate embed models:read]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// A pattern of models that it is narrowed to; may be given several times
    #[arg(long, value_name = "PATTERN")]
    model: Vec<String>,
    /// A limit of its own, as requests_per_minute=60; may be given several times
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    limit: Vec<(String, Option<i64>)>,
    /// When it ends, as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// After how long it ends, as 2160h
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

#[derive(Args)]
struct Rotate {
    /// The key's id
    id: i64,
    /// For how long the old secret is still accepted; 0s ends it at once [default: a day]
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    grace: Option<Duration>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Ends keys for good: those that are named, or all live ones to which every one of --user, --label, --older-than and
/// --unused-for applies.
#[derive(Args)]
struct Revoke {
    /// The keys' ids
    #[arg(conflicts_with_all = ["user", "label", "older_than", "unused_for", "include_self", "dry_run"])]
    id: Vec<i64>,
    /// Keys of this user: an id or e-mail address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Keys with this label
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Keys that came to be longer ago than this, as 720h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Keys that were not used for so long, as 720h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    unused_for: Option<Duration>,
    /// Also the key of PADDOCK_TOKEN, if it is among them
    #[arg(long)]
    include_self: bool,
    /// Only say which keys that would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

impl Key {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        match self.command {
            KeyCommand::List(list) => list.execute().await,
            KeyCommand::Issue(issue) => issue.execute().await,
            KeyCommand::Rotate(rotate) => rotate.execute().await,
            KeyCommand::Revoke(revoke) => revoke.execute().await,
        }
    }
}

impl List {
    async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let mut query = Vec::new();
        if let Some(user) = &self.user {
            query.push(("user_id", remote.user(user).await?.to_string()));
        }
        let keys = remote.all("/credentials", &query).await?;
        print(&self.output.list(&keys, &COLUMNS)?)
    }
}

impl Issue {
    async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        let owner = remote.look_up(&self.user).await?;
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
        let ends = self.expires_in.map(|after| (SystemClock.now() + after).to_string());
        if let Some(ends) = self.expires_at.or(ends) {
            put("expires_at", ends.into());
        }
        let issued = remote.post("/credentials", Some(&body.into())).await?;
        print(&self.output.one(&issued)?)?;
        hint_at_roles(&owner);
        Ok(())
    }
}

impl Rotate {
    async fn execute(self) -> Result<(), Failure> {
        let body = self.grace.map(|grace| json!({"grace_seconds": grace.as_secs()}));
        let path = format!("/credentials/{}/rotate", self.id);
        let issued = Remote::new(&self.server)?.post(&path, body.as_ref()).await?;
        print(&self.output.one(&issued)?)
    }
}

impl Revoke {
    /// Whether anything but ids says which keys.
    fn has_condition(&self) -> bool {
        self.user.is_some() || self.label.is_some() || self.older_than.is_some() || self.unused_for.is_some()
    }

    async fn execute(self) -> Result<(), Failure> {
        if self.id.is_empty() && !self.has_condition() {
            return Err(Failure::config("which keys? name ids, or --user, --label, --older-than or --unused-for"));
        }
        let remote = Remote::new(&self.server)?;
        if self.id.is_empty() {
            return self.many(&remote).await;
        }
        let mut revoked = Vec::new();
        for id in &self.id {
            remote.post(&format!("/credentials/{id}/revoke"), None).await.map_err(|failure| {
                match revoked.as_slice() {
                    [] => failure,
                    done => anyhow::anyhow!("key {id}: {failure} (revoked before it: {done:?})").into(),
                }
            })?;
            revoked.push(*id);
        }
        let done: Vec<Value> = revoked.iter().map(|id| json!({"id": id, "revoked": true})).collect();
        print(&self.output.list(&done, &["id", "revoked"])?)
    }

    /// All that the conditions apply to.
    async fn many(self, remote: &Remote) -> Result<(), Failure> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if let Some(user) = &self.user {
            put("user_id", remote.user(user).await?.into());
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
        // The server takes so many at once, and tells how many are left.
        let left = loop {
            let answer = remote.post("/credentials/revoke", Some(&body)).await?;
            revoked.extend(answer["revoked"].as_array().into_iter().flatten().cloned());
            let left = answer["left"].as_u64().unwrap_or(0);
            if left == 0 || self.dry_run || answer["revoked"].as_array().is_none_or(Vec::is_empty) {
                break left;
            }
        };
        print(&self.output.one(&json!({"revoked": revoked, "left": left, "dry_run": self.dry_run}))?)
    }
}

/// A duration, or nothing at all.
fn grace(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}
