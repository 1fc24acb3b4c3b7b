//! `paddock user --local`: recovery directly on the database, when no server runs or no admin
//! can sign in.

use paddock_accounts::{
    Accounts, UserId,
    types::{Email, Role, Roles},
    users::{Created, NewUser, User},
};
use paddock_store::context::AuditContext;
use serde_json::{Value, json};

use super::{Create, SetPassword, Target, add_generated_password, hint_if_no_role, print};
use crate::{
    config::{self, Database},
    error::Error,
    logging,
    password::Password,
};

impl Target {
    /// Opens the database for writing.
    async fn open(&self) -> Result<Accounts, Error> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let opened = Database::resolve(&self.database, environment)?.open().await;
        opened.map_err(|error| error.with_server_hint("leave out --local"))
    }
}

impl Create {
    /// Creates the user, with the given or a generated password.
    pub(super) async fn execute_locally(self) -> Result<(), Error> {
        let password = self.password.read_or_generate()?;
        let email = Email::parse(&self.email).map_err(|error| Error::config(format!("{}: {error}", self.email)))?;
        let roles = self.roles().into_iter().map(str::parse::<Role>).collect::<Result<Roles, _>>();
        let roles = roles.map_err(anyhow::Error::from)?;
        let accounts = self.target.open().await?;
        let new = NewUser {
            display_name: self.display_name.clone(),
            external_id: self.external_id.clone(),
            roles,
            ..NewUser::new(email)
        };
        let created = match accounts.users().create(&audit_context(), new).await? {
            Created::New(user) => user,
            Created::Existing(user) => {
                accounts.close().await;
                return print(&self.output.object(&user_json(&user))?);
            }
        };
        let set = accounts.passwords().set(&audit_context(), created.id, password.text.clone()).await;
        accounts.close().await;
        set.map_err(|error| {
            let id = created.id;
            anyhow::anyhow!(
                "user {id} was created, but without a password: {error}; `paddock user set-password {id} --local` sets one"
            )
        })?;
        let mut answer = user_json(&created);
        add_generated_password(&mut answer, &password);
        print(&self.output.object(&answer)?)?;
        hint_if_no_role(&answer);
        Ok(())
    }
}

impl SetPassword {
    pub(super) async fn execute_locally(self) -> Result<(), Error> {
        let password = self.password.read_or_generate()?;
        let accounts = self.target.open().await?;
        let id = set_password(&accounts, &self.user, &password).await;
        accounts.close().await;
        let mut answer = json!({"id": id?, "password_set": true});
        add_generated_password(&mut answer, &password);
        print(&self.output.object(&answer)?)
    }
}

async fn set_password(accounts: &Accounts, name: &str, password: &Password) -> Result<i64, Error> {
    let id = find_user_id(accounts, name).await?;
    accounts.passwords().set(&audit_context(), id, password.text.clone()).await?;
    Ok(id.0)
}

/// The id of a user. An id is not checked, so that deleted users can be named; an e-mail address is
/// looked up.
pub(in crate::commands) async fn find_user_id(accounts: &Accounts, name: &str) -> Result<UserId, Error> {
    if let Ok(id) = name.parse() {
        return Ok(UserId(id));
    }
    let email = Email::parse(name)
        .map_err(|error| Error::config(format!("{name} is neither an id nor an e-mail address: {error}")))?;
    let found = accounts.users().find_by_email(&email).await?;
    found.map(|user| user.id).ok_or_else(|| anyhow::anyhow!("there is no user {name}").into())
}

/// The audit context. Access to the database needs no other credential, so the actor is the command
/// line.
fn audit_context() -> AuditContext {
    AuditContext::system("cli")
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id.0, "email": user.email.as_str(), "display_name": user.display_name, "is_active": user.is_active,
        "roles": user.roles,
    })
}
