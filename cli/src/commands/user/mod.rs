//! `paddock user`

mod local;

pub(super) use local::look_up;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::{hint_at_roles, print};
use crate::{
    failure::Failure,
    output::OutputSettings,
    password::{Password, PasswordSettings},
    remote::{PAGE, Remote, ServerSettings},
    settings::{CommonSettings, DatabaseSettings},
};

/// What a table of users shows.
const COLUMNS: [&str; 6] = ["id", "email", "display_name", "is_active", "roles", "created_at"];

/// Works with users, through a running server; with --local, where that is offered, directly on the database.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct User {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    /// List users in order of id
    List(List),
    /// Create a user
    Create(Box<Create>),
    /// Show a user
    Show(One),
    /// Change a user
    Update(Update),
    /// Keep a user, and its keys, from doing anything
    Disable(One),
    /// Let a disabled user act again
    Enable(One),
    /// Delete a user for good: its keys are revoked, its address is free again
    Delete(One),
    /// Set a user's password, which ends its sessions
    SetPassword(Box<SetPassword>),
}

#[derive(Args)]
struct List {
    /// Only users with this text in their e-mail address or display name
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Creates a user. Without a password it can only use keys.
#[derive(Args)]
struct Create {
    /// The e-mail address
    email: String,
    /// The name that people see
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What the user is: user or admin; may be given several times
    #[arg(long, value_name = "ROLE", value_parser = ["user", "admin"])]
    role: Vec<String>,
    /// The same as --role admin
    #[arg(long)]
    admin: bool,
    /// The identity in another system; the same one again answers with the user that is there
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    #[command(flatten)]
    password: PasswordSettings,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: OutputSettings,
}

/// Where the commands for recovery work: through a server, or on the database.
#[derive(Args)]
struct Place {
    /// Work directly on the database of DATABASE_URL, where no server runs or nobody can sign in
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Args)]
struct One {
    /// The user's id or e-mail address
    user: String,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Changes what is given, and leaves the rest.
#[derive(Args)]
struct Update {
    /// The user's id or e-mail address
    user: String,
    /// The name that people see; empty clears it
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What the user is from now on, in place of what it was; may be given several times
    #[arg(long, value_name = "ROLE", value_parser = ["user", "admin"], conflicts_with = "no_roles")]
    role: Vec<String>,
    /// Take every role away
    #[arg(long)]
    no_roles: bool,
    /// A pattern of models that the user is narrowed to; may be given several times
    #[arg(long, value_name = "PATTERN", conflicts_with = "all_models")]
    model: Vec<String>,
    /// Lift the narrowing: every model
    #[arg(long)]
    all_models: bool,
    /// A limit, as requests_per_minute=60, or requests_per_minute= for none; may be given several times. The other limits are
    /// kept, and not enforced yet
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    limit: Vec<(String, Option<i64>)>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Sets a user's password: from a file, from standard input, or a new one that is printed once.
#[derive(Args)]
struct SetPassword {
    /// The user's id or e-mail address
    user: String,
    #[command(flatten)]
    password: PasswordSettings,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: OutputSettings,
}

impl User {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        match self.command {
            UserCommand::List(list) => list.execute().await,
            UserCommand::Create(create) if create.place.local => create.locally().await,
            UserCommand::Create(create) => create.execute().await,
            UserCommand::Show(one) => one.show().await,
            UserCommand::Update(update) => update.execute().await,
            UserCommand::Disable(one) => one.activate(false).await,
            UserCommand::Enable(one) => one.activate(true).await,
            UserCommand::Delete(one) => one.delete().await,
            UserCommand::SetPassword(set) if set.place.local => set.locally().await,
            UserCommand::SetPassword(set) => set.execute().await,
        }
    }
}

impl List {
    async fn execute(self) -> Result<(), Failure> {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(self.query.map(|text| ("q", text)));
        let users = Remote::new(&self.server)?.all("/users", &query).await?;
        print(&self.output.list(&users, &COLUMNS)?)
    }
}

impl Create {
    fn roles(&self) -> Vec<&str> {
        let admin = self.admin.then_some("admin");
        self.role.iter().map(String::as_str).chain(admin).collect()
    }

    async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.place.server)?;
        let password = self.password.read()?;
        let mut body = json!({"email": self.email, "roles": self.roles()});
        for (name, value) in [("display_name", &self.display_name), ("external_id", &self.external_id)] {
            if let Some(value) = value {
                body[name] = value.clone().into();
            }
        }
        let mut user = remote.post("/users", Some(&body)).await?;
        if let Some(password) = password {
            let id = user["id"].as_i64().unwrap_or_default();
            set(&remote, id, &password).await.map_err(|failure| {
                anyhow::anyhow!(
                    "user {id} is created, but has no password: {failure}; `paddock user set-password {id}` sets one"
                )
            })?;
            tell(&mut user, &password);
        }
        print(&self.output.one(&user)?)?;
        hint_at_roles(&user);
        Ok(())
    }
}

impl One {
    async fn show(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let id = remote.user(&self.user).await?;
        let user = remote.get(&format!("/users/{id}"), &[]).await?.body;
        print(&self.output.one(&user)?)
    }

    async fn activate(self, is_active: bool) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let id = remote.user(&self.user).await?;
        let user = remote.patch(&format!("/users/{id}"), &json!({"is_active": is_active})).await?;
        print(&self.output.one(&user)?)
    }

    async fn delete(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let id = remote.user(&self.user).await?;
        remote.delete(&format!("/users/{id}")).await?;
        print(&self.output.one(&json!({"id": id, "deleted": true}))?)
    }
}

impl Update {
    async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.server)?;
        let mut patch = Map::new();
        if let Some(name) = &self.display_name {
            patch.insert("display_name".to_owned(), if name.is_empty() { Value::Null } else { json!(name) });
        }
        if self.no_roles || !self.role.is_empty() {
            patch.insert("roles".to_owned(), json!(self.role));
        }
        if self.all_models {
            patch.insert("models".to_owned(), Value::Null);
        } else if !self.model.is_empty() {
            patch.insert("models".to_owned(), json!(self.model));
        }
        if !self.limit.is_empty() {
            let limits: Map<String, Value> = self.limit.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
            patch.insert("limits".to_owned(), limits.into());
        }
        if patch.is_empty() {
            return Err(Failure::config("nothing to change was named; see `paddock user update --help`"));
        }
        let id = remote.user(&self.user).await?;
        let user = remote.patch(&format!("/users/{id}"), &patch.into()).await?;
        print(&self.output.one(&user)?)
    }
}

impl SetPassword {
    async fn execute(self) -> Result<(), Failure> {
        let remote = Remote::new(&self.place.server)?;
        let password = self.password.read_or_make()?;
        let id = remote.user(&self.user).await?;
        set(&remote, id, &password).await?;
        let mut answer = json!({"id": id, "password_set": true});
        tell(&mut answer, &password);
        print(&self.output.one(&answer)?)
    }
}

async fn set(remote: &Remote, id: i64, password: &Password) -> Result<(), Failure> {
    let body = json!({"password": password.text.expose_secret()});
    remote.post(&format!("/users/{id}/password"), Some(&body)).await.map(|_| ())
}

/// Puts a password that nobody knows yet into what is printed; one that was given is not repeated.
fn tell(answer: &mut Value, password: &Password) {
    if password.is_new {
        answer["password"] = password.text.expose_secret().into();
    }
}

/// `name=60`, or `name=` for none.
pub(super) fn limit(text: &str) -> Result<(String, Option<i64>), String> {
    let wrong =
        || format!("`{text}` is no limit; write it as requests_per_minute=60, or requests_per_minute= for none");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    let number = if number.is_empty() { None } else { Some(number.parse().map_err(|_| wrong())?) };
    Ok((name.to_owned(), number))
}
