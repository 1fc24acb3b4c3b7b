//! Which server and which credential a command uses: flags and variables, else a context.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::Credential;
use crate::{
    config,
    contexts::{self, Context, Contexts, ContextsFile},
    error::Error,
};

/// The server without any setting.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The server, and the credential to use.
///
/// Each flag takes precedence over its variable. Both take precedence over the context, whose key
/// is only sent to the context's own server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerSettings {
    /// URL of the running server [default: the server of the context, else http://127.0.0.1:8080]
    #[arg(long, env = "PADDOCK_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// An API key, or the access token of a session; prefer the variable, because other users of
    /// this machine can see arguments [default: the key of the context]
    #[arg(long, env = "PADDOCK_TOKEN", value_name = "SECRET", hide_env_values = true)]
    pub(crate) token: Option<SecretString>,
    /// File with the token
    #[arg(long, env = "PADDOCK_TOKEN_FILE", value_name = "FILE", visible_alias = "key-file")]
    pub(crate) token_file: Option<PathBuf>,
    /// The context that gives the server and the key. The flags and variables above take precedence
    /// over it. `paddock login` creates contexts [default: the current context]
    #[arg(long, env = "PADDOCK_CONTEXT", value_name = "NAME", value_parser = contexts::parse_name)]
    pub(crate) context: Option<String>,
}

/// A server, and the credential for it.
pub(crate) struct Target {
    /// The base URL.
    pub(crate) server: Url,
    /// The API key or access token.
    pub(crate) token: SecretString,
    /// Where the token comes from.
    pub(crate) credential: Credential,
}

impl ServerSettings {
    /// Finds the server and the credential. Reads the contexts only if a setting is missing.
    pub(crate) fn resolve(&self) -> Result<Target, Error> {
        let token = config::read_secret("PADDOCK_TOKEN", self.token.as_ref(), self.token_file.as_deref())?;
        let contexts = match (&self.server, &token) {
            (Some(_), Some(_)) => Contexts::default(),
            // A container may have no home folder, and needs none.
            (None, Some(_)) if self.context.is_none() => {
                ContextsFile::locate().map_or(Ok(Contexts::default()), |file| file.read())?
            }
            _ => ContextsFile::locate()?.read()?,
        };
        let chosen = match &self.context {
            Some(_) if self.server.is_some() && token.is_some() => None,
            Some(name) => Some(find(&contexts, name)?),
            None => contexts.current(),
        };
        if let (None, None, None) = (&self.server, &token, chosen)
            && let Some(name) = contexts.contexts.keys().next()
        {
            return Err(Error::config(format!(
                "no context is the current one: type `paddock context list`, then `paddock context use {name}` or another name"
            )));
        }
        let server = match (&self.server, chosen) {
            (Some(server), _) => parse_server("PADDOCK_SERVER", server)?,
            (None, Some((name, context))) => context_server(name, context)?,
            (None, None) => parse_server("PADDOCK_SERVER", DEFAULT_SERVER)?,
        };
        if let Some(token) = token {
            return Ok(Target { server, token, credential: Credential::Setting });
        }
        let (name, context) = match chosen {
            Some((name, context)) if context_server(name, context)? == server => (name, context),
            Some((name, context)) if self.context.is_some() => {
                return Err(Error::config(format!(
                    "context `{name}` is for {}, and its key is not sent to {}: leave out one of --server and --context, or set PADDOCK_TOKEN",
                    context.server,
                    text_of(&server)
                )));
            }
            _ => only_context_of(&contexts, &server)?,
        };
        let credential = Credential::Context { name: name.to_owned(), expires_at: context.expires_at.clone() };
        Ok(Target { server, token: context.key.clone(), credential })
    }
}

/// The context with this name.
pub(crate) fn find<'a>(contexts: &'a Contexts, name: &str) -> Result<(&'a str, &'a Context), Error> {
    let found = contexts.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context));
    found.ok_or_else(|| {
        Error::config(format!(
            "there is no context `{name}`: type `paddock context list` to see all, or `paddock login --context {name} \
             --server URL`"
        ))
    })
}

/// Parses the URL of a server. `setting` names it in errors.
pub(crate) fn parse_server(setting: &str, text: &str) -> Result<Url, Error> {
    config::parse_base_url(setting, text, "https://paddock.example.com")
}

/// The server of a context.
pub(crate) fn context_server(name: &str, context: &Context) -> Result<Url, Error> {
    parse_server(&format!("the server of context `{name}`"), &context.server)
}

/// A base URL as text, without a slash at its end.
pub(crate) fn text_of(server: &Url) -> &str {
    server.as_str().trim_end_matches('/')
}

/// The only context of a server. Fails if there is none, or more than one.
fn only_context_of<'a>(contexts: &'a Contexts, server: &Url) -> Result<(&'a str, &'a Context), Error> {
    let mut found = contexts
        .contexts
        .iter()
        .filter(|(name, context)| context_server(name, context).is_ok_and(|url| url == *server));
    let server = text_of(server);
    match (found.next(), found.next()) {
        (Some((name, context)), None) => Ok((name, context)),
        (Some((one, _)), Some((other, _))) => Err(Error::config(format!(
            "contexts `{one}` and `{other}` are both for {server}: name one, as in `--context {one}`"
        ))),
        (None, _) => Err(Error::config(format!(
            "PADDOCK_TOKEN is not set, and no context is for {server}: type `paddock login --server {server}`, or set \
             PADDOCK_TOKEN to an API key (pdk_...) or PADDOCK_TOKEN_FILE to a file that holds one"
        ))),
    }
}
