//! `paddock context`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{logout, print};
use crate::{
    client::find,
    contexts::{self, Context as Entry, Contexts, ContextsFile},
    error::Error,
    output::OutputSettings,
};

/// The columns of the table.
const COLUMNS: [&str; 6] = ["current", "name", "server", "email", "credential_id", "expires_at"];

/// Choose between the servers that `paddock login` has signed in to.
///
/// The commands that call a server use the current context, unless --context, --server or
/// PADDOCK_TOKEN says otherwise.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Context {
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Subcommand)]
enum ContextCommand {
    /// List the contexts; never shows a key
    List {
        #[command(flatten)]
        output: OutputSettings,
    },
    /// Make a context the current one
    Use {
        /// The name of the context
        #[arg(value_parser = contexts::parse_name)]
        name: String,
    },
    /// Show a context; never shows its key
    Show {
        /// The name of the context [default: the current context]
        #[arg(value_parser = contexts::parse_name)]
        name: Option<String>,
        #[command(flatten)]
        output: OutputSettings,
    },
    /// Remove a context; its key stays valid, but `paddock logout` revokes it
    Remove {
        /// The name of the context
        #[arg(value_parser = contexts::parse_name)]
        name: String,
    },
}

impl Context {
    pub(crate) fn execute(self) -> Result<(), Error> {
        let file = ContextsFile::locate()?;
        match self.command {
            ContextCommand::List { output } => {
                let contexts = file.read()?;
                let views = contexts.contexts.iter().map(|(name, entry)| view(&contexts, name, entry));
                print(&output.list(&views.collect::<Vec<_>>(), &COLUMNS)?)
            }
            ContextCommand::Use { name } => file.update(|contexts| {
                let (name, server) =
                    find(contexts, &name).map(|(name, entry)| (name.to_owned(), entry.server.clone()))?;
                print(&format!("the current context is {name}, for {server}\n"))?;
                contexts.current_context = Some(name);
                Ok(())
            }),
            ContextCommand::Show { name, output } => {
                let contexts = file.read()?;
                let (name, entry) = match &name {
                    Some(name) => find(&contexts, name)?,
                    None => contexts.current().ok_or_else(|| {
                        Error::config("no context is the current one: type `paddock context list`, then `paddock context use NAME`")
                    })?,
                };
                print(&output.object(&view(&contexts, name, entry))?)
            }
            ContextCommand::Remove { name } => {
                let contexts = file.read()?;
                let (name, entry) = find(&contexts, &name)?;
                logout::forget(&file, name, entry)?;
                print(&format!(
                    "context {name} is removed; key {} of {} stays valid\n",
                    entry.credential_id, entry.server
                ))
            }
        }
    }
}

/// A context without its key.
fn view(contexts: &Contexts, name: &str, entry: &Entry) -> Value {
    json!({
        "current": contexts.current_context.as_deref() == Some(name), "name": name, "server": entry.server,
        "email": entry.email, "credential_id": entry.credential_id, "expires_at": entry.expires_at,
        "issued_by_login": entry.issued_by_login,
    })
}
