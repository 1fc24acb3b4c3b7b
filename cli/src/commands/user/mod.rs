//! `paddock user`

mod local;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

pub(super) use self::local::find_user_id;
use super::{hint_if_no_role, print};
use crate::{
    client::{Client, ServerSettings, USERS_PAGE_SIZE},
    error::Error,
    output::OutputSettings,
    password::{Password, PasswordSettings},
    settings::{CommonSettings, DatabaseSettings},
};

/// The columns of the table.
const COLUMNS: [&str; 6] = ["id", "email", "display_name", "is_active", "roles", "created_at"];

/// Manage users, through a running server or, for recovery, directly on the database.
///
/// `create` and `set-password` work directly on the database with --local.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct User {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    List(List),
    Create(Box<Create>),
    /// Show a user
    Show(OneUser),
    Update(Update),
    /// Disable a user: its sessions and keys stop working
    Disable(OneUser),
    /// Enable a disabled user again
    Enable(OneUser),
    /// Delete a user for good: its keys are revoked, its e-mail address is free again
    Delete(OneUser),
    SetPassword(Box<SetPassword>),
}

/// List users by id.
#[derive(Args)]
struct List {
    /// Only users whose e-mail address or display name contains this text
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Create a user.
///
/// A user without a password can only use keys.
#[derive(Args)]
struct Create {
    /// The e-mail address
    email: String,
    /// The display name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A role: user or admin; can be repeated
    #[arg(long, value_name = "ROLE", value_parser = ["user", "admin"])]
    role: Vec<String>,
    /// The same as --role admin
    #[arg(long)]
    admin: bool,
    /// The user's id in another system; if a user with this id exists, that user is printed instead
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    #[command(flatten)]
    password: PasswordSettings,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputSettings,
}

/// Where to apply the change: through a server, or directly to the database.
#[derive(Args)]
struct Target {
    /// Work directly on the database of DATABASE_URL, when no server runs or no admin can sign in
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
struct OneUser {
    /// The user's id or e-mail address
    user: String,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Change a user.
///
/// Only the given properties change.
#[derive(Args)]
struct Update {
    /// The user's id or e-mail address
    user: String,
    /// The display name; an empty name clears it
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A role that replaces the present roles: user or admin; can be repeated
    #[arg(long, value_name = "ROLE", value_parser = ["user", "admin"], conflicts_with = "no_roles")]
    role: Vec<String>,
    /// Remove all roles
    #[arg(long)]
    no_roles: bool,
    /// A pattern of models that the user may use, or after ! may not use; can be repeated
    #[arg(long, value_name = "PATTERN", conflicts_with = "all_models")]
    model: Vec<String>,
    /// Allow every model
    #[arg(long)]
    all_models: bool,
    /// A limit, such as tokens_per_day=100000, or tokens_per_day= for none; can be repeated
    #[arg(long, value_name = "NAME=N", value_parser = parse_limit)]
    limit: Vec<(String, Option<i64>)>,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    output: OutputSettings,
}

/// Set a user's password and end its sessions.
///
/// The password comes from a file or standard input; without one, a password is generated and
/// printed once.
#[derive(Args)]
struct SetPassword {
    /// The user's id or e-mail address
    user: String,
    #[command(flatten)]
    password: PasswordSettings,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputSettings,
}

impl User {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        match self.command {
            UserCommand::List(list) => list.execute().await,
            UserCommand::Create(create) if create.target.local => create.execute_locally().await,
            UserCommand::Create(create) => create.execute().await,
            UserCommand::Show(user) => user.show().await,
            UserCommand::Update(update) => update.execute().await,
            UserCommand::Disable(user) => user.activate(false).await,
            UserCommand::Enable(user) => user.activate(true).await,
            UserCommand::Delete(user) => user.delete().await,
            UserCommand::SetPassword(set) if set.target.local => set.execute_locally().await,
            UserCommand::SetPassword(set) => set.execute().await,
        }
    }
}

impl List {
    async fn execute(self) -> Result<(), Error> {
        let mut query = vec![("limit", USERS_PAGE_SIZE.to_string())];
        query.extend(self.query.map(|text| ("q", text)));
        let users = Client::new(&self.server)?.fetch_all("/users", &query).await?;
        print(&self.output.list(&users, &COLUMNS)?)
    }
}

impl Create {
    fn roles(&self) -> Vec<&str> {
        let admin = self.admin.then_some("admin");
        self.role.iter().map(String::as_str).chain(admin).collect()
    }

    async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.target.server)?;
        let password = self.password.read()?;
        let mut body = json!({"email": self.email, "roles": self.roles()});
        for (name, value) in [("display_name", &self.display_name), ("external_id", &self.external_id)] {
            if let Some(value) = value {
                body[name] = value.clone().into();
            }
        }
        let mut user = client.post("/users", Some(&body)).await?;
        if let Some(password) = password {
            let id = user["id"].as_i64().unwrap_or_default();
            set_password(&client, id, &password).await.map_err(|error| {
                anyhow::anyhow!(
                    "user {id} was created, but without a password: {error}; `paddock user set-password {id}` sets one"
                )
            })?;
            add_generated_password(&mut user, &password);
        }
        print(&self.output.object(&user)?)?;
        hint_if_no_role(&user);
        Ok(())
    }
}

impl OneUser {
    async fn show(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        let id = client.user_id(&self.user).await?;
        let user = client.get(&format!("/users/{id}"), &[]).await?.body;
        print(&self.output.object(&user)?)
    }

    async fn activate(self, is_active: bool) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        let id = client.user_id(&self.user).await?;
        let user = client.patch(&format!("/users/{id}"), &json!({"is_active": is_active})).await?;
        print(&self.output.object(&user)?)
    }

    async fn delete(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
        let id = client.user_id(&self.user).await?;
        client.delete(&format!("/users/{id}")).await?;
        print(&self.output.object(&json!({"id": id, "deleted": true}))?)
    }
}

impl Update {
    async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.server)?;
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
            return Err(Error::config("nothing to change; see `paddock user update --help`"));
        }
        let id = client.user_id(&self.user).await?;
        let user = client.patch(&format!("/users/{id}"), &patch.into()).await?;
        print(&self.output.object(&user)?)
    }
}

impl SetPassword {
    async fn execute(self) -> Result<(), Error> {
        let client = Client::new(&self.target.server)?;
        let password = self.password.read_or_generate()?;
        let id = client.user_id(&self.user).await?;
        set_password(&client, id, &password).await?;
        let mut answer = json!({"id": id, "password_set": true});
        add_generated_password(&mut answer, &password);
        print(&self.output.object(&answer)?)
    }
}

async fn set_password(client: &Client, id: i64, password: &Password) -> Result<(), Error> {
    let body = json!({"password": password.text.expose_secret()});
    client.post(&format!("/users/{id}/password"), Some(&body)).await?;
    Ok(())
}

/// Adds a generated password to the output. A given password is not repeated.
fn add_generated_password(answer: &mut Value, password: &Password) {
    if password.is_new {
        answer["password"] = password.text.expose_secret().into();
    }
}

/// Parses `name=60`, or `name=` for no limit.
pub(super) fn parse_limit(text: &str) -> Result<(String, Option<i64>), String> {
    let invalid =
        || format!("`{text}` is not a limit; write it as requests_per_minute=60, or requests_per_minute= for none");
    let (name, number) = text.split_once('=').ok_or_else(invalid)?;
    let number = if number.is_empty() { None } else { Some(number.parse().map_err(|_| invalid())?) };
    Ok((name.to_owned(), number))
}
