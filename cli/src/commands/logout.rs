//! `paddock logout`

use clap::Args;
use http::StatusCode;

use super::print;
use crate::{
    client::{Client, Credential, RequestError, Target, context_server, find},
    contexts::{self, Context, ContextsFile},
    error::Error,
};

/// Revoke the key of a context for good, and remove the context.
///
/// If the server does not answer, the context stays. The key is revoked even if another program
/// uses it; --keep-key only removes it from this machine.
#[derive(Args)]
pub(crate) struct Logout {
    /// The context [default: the current context]
    #[arg(long, env = "PADDOCK_CONTEXT", value_name = "NAME", value_parser = contexts::parse_name)]
    context: Option<String>,
    /// Every context; overrides --context
    #[arg(long)]
    all: bool,
    /// Only remove the context, without asking the server: the key stays valid
    #[arg(long)]
    keep_key: bool,
}

impl Logout {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let file = ContextsFile::locate()?;
        let contexts = file.read()?;
        let names: Vec<String> = match &self.context {
            _ if self.all => contexts.contexts.keys().cloned().collect(),
            Some(name) => vec![find(&contexts, name)?.0.to_owned()],
            None => contexts.current().map(|(name, _)| name.to_owned()).into_iter().collect(),
        };
        if names.is_empty() {
            let path = file.path();
            return Err(Error::config(format!(
                "{} has no {}context: type `paddock context list` to see all",
                path.display(),
                if self.all { "" } else { "current " }
            )));
        }
        let mut failed = Vec::new();
        for name in &names {
            if let Err(error) = self.log_out(&file, name, &contexts.contexts[name]).await {
                failed.push(error.to_string());
            }
        }
        match failed.as_slice() {
            [] => Ok(()),
            [line] => Err(anyhow::anyhow!("{line}").into()),
            lines => Err(anyhow::anyhow!("{} contexts stay:\n  {}", lines.len(), lines.join("\n  ")).into()),
        }
    }

    async fn log_out(&self, file: &ContextsFile, name: &str, context: &Context) -> Result<(), Error> {
        let id = context.credential_id;
        let state = if self.keep_key {
            "stays valid"
        } else {
            let revoked = revoke(name, context).await.map_err(|error| {
                anyhow::anyhow!(
                    "{error}; context `{name}` stays: try again, or type `paddock logout --context {name} --keep-key`, \
                     which does not revoke key {id}"
                )
            })?;
            revoked.text()
        };
        forget(file, name, context)?;
        print(&format!("context {name} is removed; key {id} of {} {state}\n", context.server))
    }
}

/// The result of revoking a key with itself.
pub(super) enum Revocation {
    /// The key is revoked now.
    Revoked,
    /// The server does not accept the key: it is revoked, has expired, or its user is disabled.
    AlreadyInvalid,
}

impl Revocation {
    fn text(&self) -> &'static str {
        match self {
            Self::Revoked => "is revoked",
            Self::AlreadyInvalid => "was no longer accepted",
        }
    }
}

/// Removes a context, unless another process has replaced its key meanwhile.
pub(super) fn forget(file: &ContextsFile, name: &str, context: &Context) -> Result<(), Error> {
    file.update(|contexts| {
        if contexts.contexts.get(name).is_some_and(|found| found.credential_id == context.credential_id) {
            contexts.remove(name);
        }
        Ok(())
    })
}

/// Revokes the key of a context with the key itself.
pub(super) async fn revoke(name: &str, context: &Context) -> Result<Revocation, Error> {
    let server = context_server(name, context)?;
    let credential = Credential::Context { name: name.to_owned(), expires_at: context.expires_at.clone() };
    let client = Client::of(&Target { server, token: context.key.clone(), credential })?;
    match client.post(&format!("/credentials/{}/revoke", context.credential_id), None).await {
        Ok(_) => Ok(Revocation::Revoked),
        Err(RequestError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => Ok(Revocation::AlreadyInvalid),
        Err(error) => Err(error.into()),
    }
}
