//! Users straight on the database: the way back in when no server runs, or nobody can sign in to one.

use paddock_accounts::{
    Accounts, UserId,
    types::{Email, Role, Roles},
    users::{Created, NewUser, User},
};
use paddock_store::context::AuditContext;
use serde_json::{Value, json};

use super::{Create, Place, SetPassword, hint_at_roles, print, tell};
use crate::{
    config::{self, Database},
    failure::Failure,
    logging,
    password::Password,
};

impl Place {
    /// Opens the database to write to it.
    async fn open(&self) -> Result<Accounts, Failure> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let opened = Database::resolve(&self.database, environment)?.open().await;
        opened.map_err(|failure| failure.or_ask_the_server("leave out --local"))
    }
}

impl Create {
    /// Creates the user with a password: a new one, unless one was named.
    pub(super) async fn locally(self) -> Result<(), Failure> {
        let password = self.password.read_or_make()?;
        let email = Email::parse(&self.email).map_err(|error| Failure::config(format!("{}: {error}", self.email)))?;
        let roles = self.roles().into_iter().map(str::parse::<Role>).collect::<Result<Roles, _>>();
        let roles = roles.map_err(anyhow::Error::from)?;
        let accounts = self.place.open().await?;
        let new = NewUser {
            display_name: self.display_name.clone(),
            external_id: self.external_id.clone(),
            roles,
            ..NewUser::new(email)
        };
        let created = match accounts.users().create(&context(), new).await? {
            Created::New(user) => user,
            Created::Existing(user) => {
                accounts.close().await;
                return print(&self.output.one(&shown(&user))?);
            }
        };
        let set = accounts.passwords().set(&context(), created.id, password.text.clone()).await;
        accounts.close().await;
        set.map_err(|error| {
            let id = created.id;
            anyhow::anyhow!(
                "user {id} is created, but has no password: {error}; `paddock user set-password {id} --local` sets one"
            )
        })?;
        let mut answer = shown(&created);
        tell(&mut answer, &password);
        print(&self.output.one(&answer)?)?;
        hint_at_roles(&answer);
        Ok(())
    }
}

impl SetPassword {
    pub(super) async fn locally(self) -> Result<(), Failure> {
        let password = self.password.read_or_make()?;
        let accounts = self.place.open().await?;
        let done = set(&accounts, &self.user, &password).await;
        accounts.close().await;
        let mut answer = json!({"id": done?, "password_set": true});
        tell(&mut answer, &password);
        print(&self.output.one(&answer)?)
    }
}

async fn set(accounts: &Accounts, name: &str, password: &Password) -> Result<i64, Failure> {
    let id = look_up(accounts, name).await?;
    accounts.passwords().set(&context(), id, password.text.clone()).await?;
    Ok(id.0)
}

/// The user that is meant by an id, which may be that of one who is deleted, or by an e-mail address.
pub(in crate::commands) async fn look_up(accounts: &Accounts, name: &str) -> Result<UserId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(UserId(id));
    }
    let email = Email::parse(name)
        .map_err(|error| Failure::config(format!("{name} is neither an id nor an address: {error}")))?;
    let found = accounts.users().find_by_email(&email).await?;
    found.map(|user| user.id).ok_or_else(|| anyhow::anyhow!("there is no user {name}").into())
}

/// Whoever can open the database acts as the command line.
fn context() -> AuditContext {
    AuditContext::system("cli")
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id.0, "email": user.email.as_str(), "display_name": user.display_name, "is_active": user.is_active,
        "roles": user.roles,
    })
}
